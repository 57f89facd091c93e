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

}  // namespace mp::detail
