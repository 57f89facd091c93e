// Which process is calling this function?
//
// Python:  os.getpid() in the target
// Watch:   five process ids, and that none of them is main's.
// Run:     ./learn process_ids

#include <unistd.h>
#include <mp/mp.hpp>

#include <vector>

// [doubler]
// The same function and the same line of code; still, each time another
// process runs it. The id is the kernel's own name for a process.
void doubler(int number) {
  int result = number * 2;
  pid_t proc = ::getpid();
  mp::println("{} doubled to {} by process id: {}", number, result, proc);
}
// [/doubler]

int main() {
  // [start]
  const std::vector<int> numbers = {5, 10, 15, 20, 25};
  std::vector<mp::Process> procs;
  for (int number : numbers) {
    mp::Process proc(doubler, number);
    proc.start();
    procs.push_back(std::move(proc));
  }
  // [/start]

  // [join]
  // join() waits for one process. To wait for all, wait for each: the order
  // does not matter, the slowest decides when the loop is through.
  for (auto& proc : procs) proc.join();
  // [/join]

  // [pids]
  // A Process knows the id of its child, also when that has ended.
  for (auto& proc : procs) mp::println("joined: {}", *proc.pid());
  mp::println("main's own process id: {}", ::getpid());
  // [/pids]
}
