// What does a process keep to itself that a thread shares?
//
// Python:  threading.Thread and multiprocessing.Process, the same target
// Watch:   the ids, the counter, and who is hurt by the crash.
// Run:     ./learn threads_and_processes

#include <unistd.h>
#include <mp/mp.hpp>

#include <csignal>
#include <string>
#include <thread>

// [work]
int times_done = 0;  // One variable; but of which process?

void do_some_work(const std::string& val) {
  mp::println("doing some work in thread {} of process {}", ::gettid(),
              ::getpid());
  mp::println("echo: {}", val);
  mp::println("counted here: {}", ++times_done);
}
// [/work]

// [crash]
// What a stray pointer ends in. The first line undoes any handler, so that
// the kernel's own answer comes: the process is ended, at once.
void crash() {
  std::signal(SIGSEGV, SIG_DFL);
  std::raise(SIGSEGV);
}
// [/crash]

int main() {
  const std::string val = "text";
  mp::println("main is process {}", ::getpid());

  // [thread]
  // A thread runs in this process. It has our memory: what it counts, we see.
  std::thread thread(do_some_work, val);
  thread.join();
  mp::println("after the thread: times_done = {}", times_done);
  // [/thread]

  // [process]
  // A process has memory of its own, and a first thread, whose id it shares.
  // It counts, too, from our 1 to its 2. The 2 is gone with it.
  mp::Process process(do_some_work, val);
  process.start();
  process.join();
  mp::println("after the process: times_done = {}", times_done);
  // [/process]

  // [survive]
  // A crash ends the process it happens in and nothing else. Had a thread
  // done this, there would be nobody left to print a line.
  mp::Process crashing(crash);
  crashing.start();
  crashing.join();
  mp::println("after the crash: exitcode = {}", *crashing.exitcode());
  // [/survive]
}
