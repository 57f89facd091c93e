// What does a terminated process leave behind?
//
// Python:  p.terminate(): "finally" does not run, a lock stays locked
// Watch:   who puts the notes away, and what the next one at the lock is told.
// Run:     ./learn terminate_gotchas

#include <mp/mp.hpp>

#include <mutex>
#include <string>

// [notes]
// Something that is tidied up by its destructor, as files and locks are.
struct Notes {
  ~Notes() { mp::println("{}: notes put away", mp::current_process().name()); }
};
// [/notes]

// [worker]
// Two accounts hold 100 together, for everybody who looks under the lock. In
// the middle of a transfer they do not.
void transfer(mp::RawArray<int> accounts, mp::Lock lock, mp::Event go_on,
              mp::Connection report) {
  const Notes notes;
  const std::scoped_lock guard(lock);
  accounts[0] -= 10;
  report.send("in the middle");
  go_on.wait();
  accounts[1] += 10;
}
// [/worker]

// [look]
void look(const mp::RawArray<int>& accounts, const mp::Lock& lock) {
  try {
    lock.acquire();
    mp::println("main: I have the lock");
  } catch (const mp::OwnerDied& death) {
    // The lock IS ours now. What it protects is as the dead one left it, and
    // to be looked at before anybody relies on it.
    mp::println("main: I have the lock, and am told: {}", death.what());
    mp::println("main: together {}", accounts[0] + accounts[1]);
    accounts[0] = 100 - accounts[1];
    mp::println("main: mended");
  }
  const std::scoped_lock guard(std::adopt_lock, lock);
  mp::println("main: together {}", accounts[0] + accounts[1]);
}
// [/look]

int main() {
  mp::RawArray<int> accounts{50, 50};
  mp::Lock lock;
  mp::Event go_on;
  auto [here, there] = mp::Pipe();

  // [terminated]
  // Stopped from outside, in the middle: at once, and wherever it is.
  mp::Process ended({.name = "ended"}, transfer, accounts, lock, go_on, there);
  ended.start();
  here.recv<std::string>();
  ended.terminate();
  ended.join();
  mp::println("main: ended by {}", *ended.exitcode());
  look(accounts, lock);
  // [/terminated]

  // [asked]
  // The program that is right: it tells the worker, and lets it come to an end.
  mp::Process asked({.name = "asked"}, transfer, accounts, lock, go_on, there);
  asked.start();
  here.recv<std::string>();
  go_on.set();
  asked.join();
  mp::println("main: came to its end, {}", *asked.exitcode());
  look(accounts, lock);
  // [/asked]
}
