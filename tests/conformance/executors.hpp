#pragma once

#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <mp/mp.hpp>
#include <stdexcept>
#include <thread>

#include "channel.hpp"

// What the checks of executors and futures share: what workers do, and on what.
namespace mp::test {

inline int power(int base, int exponent) {
  return exponent == 0 ? 1 : base * power(base, exponent - 1);
}
inline int divide(int a, int b) {
  if (b == 0) throw std::domain_error("division by zero");
  return a / b;
}
inline int same(int x) { return x; }
inline int sleep_for(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return milliseconds;
}
inline int pid_of_worker(int) { return ::getpid(); }
inline int fail(int) { throw std::runtime_error("failed"); }
inline int crash(int) {
  ::prctl(PR_SET_DUMPABLE, 0);
  std::abort();
}
inline int leave(int code) { ::_exit(code); }

/// What a worker waits for: a gate that crosses by every start method.
struct Held {
  static inline std::unique_ptr<Channel> gate;
  static void take(const Channel& channel) {
    gate = std::make_unique<Channel>(channel);
    gate->stop_writing();
  }
  /// Until the test stops writing.
  static int wait(int x) {
    gate->ended();
    return x;
  }
};

constexpr int workers = 5;

/// Each check over processes and, in the same test, over threads.
template <class Check>
void over_both(Check check) {
  {
    futures::ProcessPoolExecutor processes(workers);
    check(processes);
  }
  futures::ThreadPoolExecutor threads(workers);
  check(threads);
}

}  // namespace mp::test
