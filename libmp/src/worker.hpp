#pragma once

#include <cstdint>
#include <memory>

#include "mp/detail/callable.hpp"
#include "mp/detail/os.hpp"

namespace mp::detail {

/// What a worker process is told at its start.
struct WorkerSeat {
  UniqueFd lane;
  UniqueFd bell;
  int default_workers = 1;
  std::uint64_t max_rss = 0;
  std::uint64_t blocked_signals = 0;  ///< See blocked_signals().
};

/// The signals that the calling thread blocks, a bit each: 1 for the first.
std::uint64_t blocked_signals() noexcept;

/// The life of a worker process, as the target of its Process.
std::unique_ptr<Task> make_worker(WorkerSeat seat, std::shared_ptr<Task> initializer);

}  // namespace mp::detail
