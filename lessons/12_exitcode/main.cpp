// How does a program that is gone tell us why?
//
// Python:  p.exitcode: 0, a positive code, or minus a signal's number
// Watch:   which of the five fail, and how the failed ones differ.
// Run:     ./learn exitcode

#include <mp/mp.hpp>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

// [targets]
void exit_error() { mp::exit(1); }
void exit_ok() {}
// What a function returns stays in its process. It is not the exit code.
int return_value() { return 1; }
// An exception that nobody catches: reported on stderr, then exit code 1.
void raises() { throw std::runtime_error("There was an error!"); }
// Never comes to its end: it is sent a signal long before.
void terminated() { std::this_thread::sleep_for(20s); }
// [/targets]

int main() {
  std::vector<mp::Process> jobs;

  // [start]
  // A C++ function does not know its name, so it is told here.
  auto start = [&](const char* name, auto* function) {
    mp::println("Starting process for {}", name);
    jobs.emplace_back(mp::ProcessOptions{.name = name}, function);
    jobs.back().start();
  };
  start("exit_error", exit_error);
  start("exit_ok", exit_ok);
  start("return_value", return_value);
  start("raises", raises);
  start("terminated", terminated);
  // [/start]

  // [collect]
  // The code is there once join() has returned.
  jobs.back().terminate();
  for (auto& j : jobs) {
    j.join();
    mp::println("{}.exitcode = {}", j.name(), *j.exitcode());
  }
  // [/collect]
}
