#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "mp/detail/os.hpp"

namespace mp::detail {

/// How long to look again before going to sleep. A sleep and a wake-up cost
/// some ten microseconds, so a look that succeeds sooner is worth the core it
/// burns; one that does not is waste. So the time allowed follows success: it
/// grows while spinning pays and halves while it does not, down to nothing but
/// a try now and then. On one core there is never a spin: what is waited for
/// could not happen meanwhile.
///
/// A hint, shared by the threads of a process without a lock: relaxed access,
/// a lost update does no harm.
class AdaptiveSpin {
 public:
  /// Calls `ready` until it returns true or the time allowed is over.
  template <class Ready>
  bool operator()(Ready ready) {
    const std::chrono::nanoseconds limit = allowed();
    if (limit.count() == 0) return false;
    const auto end = std::chrono::steady_clock::now() + limit;
    // Ever more rarely: a look takes the line away from who is to write it.
    for (int pauses = 1;; pauses = std::min(pauses * 2, most_pauses)) {
      if (ready()) {
        budget_.store(std::clamp(budget_.load(relaxed) * 2, most / 2, most), relaxed);
        return true;
      }
      if (std::chrono::steady_clock::now() >= end) break;
      for (int i = 0; i < pauses; ++i) spin_pause();
    }
    budget_.store(budget_.load(relaxed) / 2, relaxed);
    return false;
  }

 private:
  static constexpr auto relaxed = std::memory_order_relaxed;
  static constexpr std::uint32_t most = 20'000;  // Nanoseconds.
  static constexpr int most_pauses = 128;        // A few microseconds.
  static constexpr std::uint32_t least = 2'000;
  static constexpr std::uint32_t retry_after = 64;

  std::chrono::nanoseconds allowed() {
    if (!has_several_cores()) return {};
    const std::uint32_t budget = budget_.load(relaxed);
    if (budget >= least) return std::chrono::nanoseconds(budget);
    const std::uint32_t skipped = skipped_.load(relaxed) + 1;
    skipped_.store(skipped % retry_after, relaxed);
    return std::chrono::nanoseconds(skipped == retry_after ? most / 2 : 0);
  }

  std::atomic<std::uint32_t> budget_{most / 2};
  std::atomic<std::uint32_t> skipped_{0};
};

/// Lets a writer get ahead. A reader that has caught up finds one record at a
/// time, and each of its looks takes the line away that the writer needs for
/// the next: where that line travels slowly, both go at its pace. Left alone for
/// a moment, the writer has a batch ready, and the two meet once for all of it.
///
/// Whether that pays is found out by trying: as long as a moment brings a batch
/// there is one after each wait; else the next try is ever more waits away, so
/// that who answers message for message is hardly ever held up. On one core
/// there is never a moment: nobody could use it.
///
/// A hint like AdaptiveSpin: relaxed access, a lost update does no harm.
class HeadStart {
 public:
  /// After a wait that ended with a record. `count` tells how many there are.
  template <class Count>
  void operator()(Count count) {
    if (!has_several_cores() || !is_due()) return;
    const auto end = std::chrono::steady_clock::now() + moment;
    do {
      for (int i = 0; i < pauses; ++i) spin_pause();
    } while (std::chrono::steady_clock::now() < end);
    const std::uint32_t between = between_.load(relaxed);
    const std::uint32_t next = std::clamp(between * 2, least_between, most_between);
    between_.store(count() >= batch ? 0 : next, relaxed);
  }

 private:
  static constexpr auto relaxed = std::memory_order_relaxed;
  static constexpr std::chrono::nanoseconds moment{1'000};
  static constexpr std::uint64_t batch = 8;
  static constexpr int pauses = 8;
  static constexpr std::uint32_t least_between = 64;
  static constexpr std::uint32_t most_between = 4096;

  bool is_due() {
    const std::uint32_t waits = waits_.load(relaxed) + 1;
    const bool due = waits > between_.load(relaxed);
    waits_.store(due ? 0 : waits, relaxed);
    return due;
  }

  std::atomic<std::uint32_t> between_{least_between};
  std::atomic<std::uint32_t> waits_{0};
};

}  // namespace mp::detail
