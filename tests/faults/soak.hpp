#pragma once

#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include <mp/mp.hpp>

/// What the rounds of the soak test are made of.
namespace soak {

constexpr std::chrono::seconds patience{60};

/// Processes killed so far.
extern long kills;

int random_number(int least, int most);

/// The moment of a kill is what is random here; nothing is waited for by it.
void some_time();

/// Throws std::runtime_error for a finding.
void require(bool truth, const std::string& what);

/// A process that has started: mostly by fork, which is fast; the others now and then.
template <class... Args>
mp::Process start(Args&&... args) {
  const int method = random_number(0, 19);
  mp::Process process({.daemon = true,
                       .start_method = method == 0   ? mp::StartMethod::spawn
                                       : method == 1 ? mp::StartMethod::forkserver
                                                     : mp::StartMethod::fork},
                      std::forward<Args>(args)...);
  process.start();
  return process;
}

void kill(mp::Process& process);
void expect_end(mp::Process& process, const char* who);

/// Both numbers change under the lock; whoever is told of a death mends them.
template <class Lock, class Numbers>
void change_both(Lock lock, Numbers both, int times) {
  for (int i = 0; i < times; ++i) {
    try {
      require(lock.acquire(patience), "a lock hangs");
    } catch (const mp::OwnerDied&) {
      both[1] = both[0].get();
    }
    require(both[0].get() == both[1].get(), "a change under a lock is half done");
    both[0] += 1;
    both[1] += 1;
    lock.release();
  }
}

template <class Lock, class Numbers>
void change_round(const Lock& lock, const Numbers& both, int times) {
  auto victim = start(change_both<Lock, Numbers>, lock, both, 1'000'000'000);
  auto survivor = start(change_both<Lock, Numbers>, lock, both, times);
  some_time();
  kill(victim);
  expect_end(survivor, "a user of a lock");
  change_both(lock, both, 1);
}

// The rounds of soak_servers.cpp.
void memory_round();
void list_round();
void listener_round();
void manager_round();
void manager_lock_round();
void manager_queue_round();

}  // namespace soak
