#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mp::detail {

/// What a running task says of itself: plain memory that another thread, or
/// another process that shares it, may read at any time.
///
/// Invariant: one writer, the task's worker. `version_` is odd while it
/// writes; a reader takes what it read only if the version was even, and the
/// same before and after. The text is kept in words so that no access races.
class TaskProgress {
 public:
  void clear() noexcept { write(0, {}); }
  void write(double fraction, std::string_view text) noexcept;
  /// False if the writer kept writing; nothing is changed then.
  bool read(double& fraction, std::string& text) const;

 private:
  static constexpr std::size_t words = 13;  // 104 bytes.
  std::atomic<std::uint32_t> version_{0};
  std::atomic<std::uint32_t> size_{0};
  std::atomic<double> fraction_{0};
  std::array<std::atomic<std::uint64_t>, words> text_{};
};

/// Where report_progress() writes in the calling thread; null: nowhere.
class CurrentTaskProgress {
 public:
  explicit CurrentTaskProgress(TaskProgress* progress) noexcept;
  CurrentTaskProgress(const CurrentTaskProgress&) = delete;
  CurrentTaskProgress& operator=(const CurrentTaskProgress&) = delete;
  ~CurrentTaskProgress();
};

}  // namespace mp::detail
