#include "mp/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "mp/detail/os.hpp"
#include "task_progress.hpp"

namespace mp {
namespace detail {

namespace {

thread_local TaskProgress* current = nullptr;
// What a task forks is not the task.
[[maybe_unused]] const bool registered = (after_fork_in_child([] { current = nullptr; }), true);

}  // namespace

void TaskProgress::write(double fraction, std::string_view text) noexcept {
  const std::uint32_t version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  // The odd version is seen before anything that follows it.
  std::atomic_thread_fence(std::memory_order_release);
  fraction_.store(fraction, std::memory_order_relaxed);
  const std::size_t size = std::min(text.size(), words * sizeof(std::uint64_t));
  size_.store(static_cast<std::uint32_t>(size), std::memory_order_relaxed);
  for (std::size_t i = 0; i * sizeof(std::uint64_t) < size; ++i) {
    std::uint64_t word = 0;
    const std::size_t at = i * sizeof word;
    std::memcpy(&word, text.data() + at, std::min(size - at, sizeof word));
    text_[i].store(word, std::memory_order_relaxed);
  }
  version_.store(version + 2, std::memory_order_release);
}

bool TaskProgress::read(double& fraction, std::string& text) const {
  for (int tries = 0; tries < 100; ++tries) {
    const std::uint32_t before = version_.load(std::memory_order_acquire);
    const double value = fraction_.load(std::memory_order_relaxed);
    std::array<std::uint64_t, words> copy{};
    for (std::size_t i = 0; i < words; ++i) copy[i] = text_[i].load(std::memory_order_relaxed);
    const std::size_t size = size_.load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if ((before & 1U) != 0 || version_.load(std::memory_order_relaxed) != before) continue;
    fraction = value;
    text.assign(reinterpret_cast<const char*>(copy.data()), std::min(size, sizeof copy));
    return true;
  }
  return false;
}

CurrentTaskProgress::CurrentTaskProgress(TaskProgress* progress) noexcept { current = progress; }
CurrentTaskProgress::~CurrentTaskProgress() { current = nullptr; }

}  // namespace detail

void report_progress(double fraction, std::string_view text) {
  if (detail::current != nullptr) detail::current->write(std::clamp(fraction, 0.0, 1.0), text);
}

ProgressBar::ProgressBar(std::string label, int fd)
    : label_(std::move(label)), fd_(fd), terminal_(::isatty(fd) == 1) {
  if (!label_.empty()) label_ += ": ";
}

ProgressBar::~ProgressBar() { finish(); }

void ProgressBar::update(std::size_t finished, std::size_t total) {
  if (total == 0) return;
  finished = std::max(std::min(finished, total), shown_);
  // On a terminal per mille; elsewhere tenths, as each is a line of its own.
  const std::size_t steps = finished * (terminal_ ? 1000 : 10) / total;
  if (steps == steps_ && (open_ || steps == 0 || !terminal_)) return;
  steps_ = steps;
  shown_ = finished;
  draw(finished, total);
}

void ProgressBar::draw(std::size_t finished, std::size_t total) {
  constexpr std::size_t width = 40;
  const std::size_t percent = finished * 100 / total;
  std::string line;
  if (terminal_) {
    const std::size_t filled = finished * width / total;
    line = fmt::format("\r{}[{:#<{}}{:.<{}}] {:3}% {}/{}", label_, "", filled, "", width - filled,
                       percent, finished, total);
    open_ = true;
  } else {
    line = fmt::format("{}{}% {}/{}\n", label_, percent, finished, total);
  }
  // A bar that cannot be shown is no reason to fail.
  (void)detail::write_all(fd_, line);
}

void ProgressBar::finish() {
  if (std::exchange(open_, false)) (void)detail::write_all(fd_, "\n");
}

}  // namespace mp
