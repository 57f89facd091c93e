#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "mp/detail/stream_rules.hpp"
#include "mp/timeout.hpp"

namespace mp::detail {

/// How many items of a stream are on their way, submitted and not taken yet,
/// and how many may be. The reader's own, who submits and takes.
///
/// One that grows starts with a few items for each worker, and is doubled
/// where the workers have done all of it in a moment.
class Window {
 public:
  Window(const StreamRules& rules, std::size_t workers)
      : growing_(rules.growing),
        most_(rules.window),
        first_(4 * workers * rules.chunk),
        widest_(rules.window),
        width_(rules.growing ? std::min(rules.window, first_) : rules.window) {}

  /// How many items to submit now. One that grows wants them by the half.
  [[nodiscard]] std::size_t room() const noexcept {
    const std::size_t outstanding = submitted_ - taken_;
    if (outstanding + (growing_ ? width_ / 2 : 0) >= width_) return 0;
    return width_ - outstanding;
  }
  /// Whether all that was submitted was taken.
  [[nodiscard]] bool empty() const noexcept { return taken_ == submitted_; }
  [[nodiscard]] std::size_t submitted() const noexcept { return submitted_; }

  /// So many items, which are so many bytes in the form that crosses.
  void submit(std::size_t items, std::size_t bytes) noexcept {
    submitted_ += items;
    if (!growing_) return;
    widest_ = std::min(most_, std::max(first_, most_bytes / (bytes / items + 1)));
    width_ = std::min(width_, widest_);
  }
  void take() noexcept { ++taken_; }
  void take_all() noexcept { taken_ = submitted_; }

  /// The reader is about to wait. If the workers did all of the last window in a
  /// moment, they may be waiting as well, for items: it is doubled.
  void widen() noexcept {
    if (!growing_ || width_ >= widest_ || taken_ - counted_ < width_) return;
    const auto now = Clock::now();
    if (now - counted_at_ < moment) width_ = std::min(width_ * 2, widest_);
    counted_ = taken_;
    counted_at_ = now;
  }

 private:
  using Clock = std::chrono::steady_clock;

  // What one that grows may hold in the form that crosses.
  static constexpr std::size_t most_bytes = 8U << 20U;
  static constexpr Duration moment = std::chrono::milliseconds(2);

  const bool growing_;
  const std::size_t most_;
  const std::size_t first_;
  std::size_t widest_;  // What it may grow to.
  std::size_t width_;
  std::size_t submitted_ = 0;
  std::size_t taken_ = 0;
  std::size_t counted_ = 0;  // What was taken when last widen() looked at the clock.
  Clock::time_point counted_at_ = Clock::now();
};

}  // namespace mp::detail
