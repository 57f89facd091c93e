// What if a process takes longer than we are willing to wait?
//
// Python:  d.join(1); d.is_alive()
// Watch:   join() returns although the daemon has not ended.
// Run:     ./learn join_timeout

#include <mp/mp.hpp>

#include <chrono>
#include <thread>

using namespace std::chrono_literals;

// [targets]
namespace targets {

void daemon() {
  auto name = mp::current_process().name();
  mp::println("Starting: {}", name);
  std::this_thread::sleep_for(20s);
  mp::println("Exiting : {}", name);
}

void non_daemon() {
  auto name = mp::current_process().name();
  mp::println("Starting: {}", name);
  mp::println("Exiting : {}", name);
}

}  // namespace targets
// [/targets]

int main() {
  mp::Process d({.name = "daemon"}, targets::daemon);
  d.set_daemon(true);

  mp::Process n({.name = "non-daemon"}, targets::non_daemon);
  n.set_daemon(false);

  d.start();
  n.start();

  // [join]
  // A time is a std::chrono duration; the clock is one that nobody can set.
  // Running out of time is no error: join() just returns.
  const auto begin = std::chrono::steady_clock::now();
  d.join(1s);
  const std::chrono::duration<double> waited =
      std::chrono::steady_clock::now() - begin;
  // [/join]

  // [alive]
  // So ask what has become of it. The exit code says the same: it is empty
  // as long as the process runs.
  mp::println("d.is_alive() {}", d.is_alive());
  mp::println("d has an exitcode: {}", d.exitcode().has_value());
  mp::println("d.join(1s) took {:.3f} s", waited.count());
  n.join();
  // [/alive]
}
