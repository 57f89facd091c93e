// Must a program wait for every process that it has started?
//
// Python:  d.daemon = True
// Watch:   which "Exiting" line never comes; then look for the daemon's pid.
// Run:     ./learn daemons

#include <mp/mp.hpp>

#include <chrono>
#include <thread>

using namespace std::chrono_literals;

// In a namespace, as the C library has a function of the name daemon, too.
namespace targets {

// [daemon]
// A background service: it has much more time than the program.
void daemon() {
  auto p = mp::current_process();
  mp::println("Starting: {} {}", p.name(), *p.pid());
  std::this_thread::sleep_for(20s);
  mp::println("Exiting : {} {}", p.name(), *p.pid());
}
// [/daemon]

// [non_daemon]
void non_daemon() {
  auto p = mp::current_process();
  mp::println("Starting: {} {}", p.name(), *p.pid());
  mp::println("Exiting : {} {}", p.name(), *p.pid());
}
// [/non_daemon]

}  // namespace targets

int main() {
  // [make]
  // Whether a process is a daemon is said before it starts; it is its
  // parent's promise not to wait for it.
  mp::Process d({.name = "daemon"}, targets::daemon);
  d.set_daemon(true);

  mp::Process n({.name = "non-daemon"}, targets::non_daemon);
  n.set_daemon(false);
  // [/make]

  // [start]
  // Half a second for the daemon to make itself known.
  d.start();
  std::this_thread::sleep_for(500ms);
  n.start();
  // [/start]

  // [end]
  // The program ends here: it waits for the non-daemon; the daemon is
  // terminated in its sleep, so that nobody is left behind.
  // [/end]
}
