// Why do fork and threads not go together?
//
// Python:  threading.Thread beside get_context("fork").Process
// Watch:   which child gets the mutex, and which one would wait for ever.
// Run:     ./learn fork_and_threads

#include <mp/mp.hpp>

#include <chrono>
#include <latch>
#include <mutex>
#include <string>
#include <thread>

using namespace std::chrono_literals;

// [worker]
// An ordinary mutex. It lies in the memory of one process, and keeps that
// process's threads apart.
std::mutex mutex;

void worker(mp::Connection report) {
  mp::println("child: I take the mutex");
  report.send("asking");
  const std::scoped_lock guard(mutex);
  mp::println("child: I have it");
}
// [/worker]

// [attempt]
// The child is given two seconds for a thing that takes no time at all.
void attempt(mp::StartMethod method) {
  mp::println("{}:", mp::to_string(method));
  auto [here, there] = mp::Pipe();
  mp::Process child({.daemon = true, .start_method = method}, worker, there);
  child.start();
  here.recv<std::string>();
  child.join(2s);

  if (child.is_alive()) {
    mp::println("main: it waits, and nobody is there to let go");
    child.kill();
    child.join();
  }
  mp::println("main: the child ended with {}", *child.exitcode());
}
// [/attempt]

int main() {
  mp::freeze_support();

  // [thread]
  // A second thread, which has the mutex for as long as main says. Any lock
  // will do: a logger's, a cache's, a library's.
  std::latch held(1);
  std::latch finished(1);
  std::jthread holder([&] {
    const std::scoped_lock guard(mutex);
    held.count_down();
    finished.wait();
  });
  held.wait();
  mp::println("main: a thread has the mutex");
  // [/thread]

  // [both]
  // fork copies the memory, with the mutex as it is: taken. It copies one
  // thread, the one that calls it. The holder is not in the child.
  attempt(mp::StartMethod::fork);

  // A program that is executed afresh has a mutex of its own.
  attempt(mp::StartMethod::spawn);
  // [/both]

  finished.count_down();
}
