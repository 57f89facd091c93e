// How long does join() wait, and does it wait for a daemon, too?
//
// Python:  d.join()
// Watch:   both "Exiting" lines come now, before main's.
// Run:     ./learn daemon_join

#include <mp/mp.hpp>

#include <chrono>
#include <thread>

using namespace std::chrono_literals;

// [targets]
namespace targets {

void daemon() {
  auto name = mp::current_process().name();
  mp::println("Starting: {}", name);
  std::this_thread::sleep_for(400ms);
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

  // [start]
  d.start();
  std::this_thread::sleep_for(200ms);
  n.start();
  // [/start]

  // [join]
  // Nothing ends a daemon while the program runs. join() waits for it as for
  // any other process, however long it takes; the order of the two joins
  // does not matter.
  d.join();
  n.join();
  mp::println("joined: {} {}, {} {}", d.name(), *d.exitcode(), n.name(),
              *n.exitcode());
  // [/join]
}
