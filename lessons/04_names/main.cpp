// What is a process called, and who counts?
//
// Python:  multiprocessing.current_process().name, Process(name="Test")
// Watch:   the numbers begin at 2: what has become of Process-1?
// Run:     ./learn names

#include <mp/mp.hpp>

#include <vector>

// [doubler]
// current_process() is the Process object of whoever asks: here, of the child
// that runs this call.
void doubler(int number) {
  int result = number * 2;
  auto proc_name = mp::current_process().name();
  mp::println("{} doubled to {} by: {}", number, result, proc_name);
}
// [/doubler]

int main() {
  // [unused]
  // Names are given to objects, when they are made, not to processes. This
  // one becomes Process-1, although it is never started.
  mp::Process unused(doubler, 5);
  // [/unused]

  // [start]
  const std::vector<int> numbers = {5, 10, 15, 20, 25};
  std::vector<mp::Process> procs;
  for (int number : numbers) {
    mp::Process proc(doubler, number);
    proc.start();
    procs.push_back(std::move(proc));
  }
  // [/start]

  // [test]
  // A name of one's own is taken as it is: no number is added to it.
  mp::Process test({.name = "Test"}, doubler, 2);
  test.start();
  procs.push_back(std::move(test));
  // [/test]

  for (auto& proc : procs) proc.join();
  mp::println("started by: {}", mp::current_process().name());
}
