#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lane.hpp"
#include "mp/detail/workers.hpp"
#include "mp/process.hpp"

namespace mp::detail {

/// What was read from a lane and is to be told to a job, without any lock.
struct Completion {
  std::shared_ptr<Job> job;
  std::size_t first = 0;
  std::size_t count = 0;
  ResultEntry::Kind kind{};
  std::size_t offset = 0;  ///< In the batch's bytes.
  std::size_t size = 0;
  std::exception_ptr error = {};  ///< Instead of bytes.
};
struct Batch {
  std::vector<Completion> completions;
  std::vector<std::byte> bytes;
};

/// The pool's side of a worker: its process, its memory, and the tasks in it.
/// All under the engine's mutex.
class WorkerLane {
 public:
  struct InFlight {
    Share share = {};      ///< Without its job from when that may be gone: see job_of().
    std::uint64_t id = 0;  ///< The job's.
    Timeout limit = {};    ///< The job's.
    bool spilled = false;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    std::size_t settled = 0;  ///< Items of the share whose results were read.
  };

  WorkerLane(Process process, LaneMemory memory, std::optional<std::size_t> quota);
  WorkerLane(const WorkerLane&) = delete;
  WorkerLane& operator=(const WorkerLane&) = delete;

  // --- tasks ---

  /// Writes the task; false if there is no room for it while others are ahead
  /// of it. Throws std::system_error when there is no memory.
  bool put(Share& share);
  /// Offers what was put and wakes the worker if it sleeps.
  void offer();
  /// The newest task, if the worker has not begun it.
  std::optional<Share> take_newest();
  /// How many tasks it has not begun.
  [[nodiscard]] std::size_t waiting() const noexcept;
  /// Whether it would have to be woken.
  [[nodiscard]] bool asleep() const noexcept {
    return header().sleeping.load(std::memory_order_relaxed) != 0;
  }
  /// The task that it is at.
  [[nodiscard]] const InFlight* current() const noexcept;
  [[nodiscard]] const std::deque<InFlight>& tasks() const noexcept { return tasks_; }
  /// The size of that, by one subtraction.
  [[nodiscard]] std::size_t task_count() const noexcept { return offered_ - oldest_; }
  /// All tasks, with the items that were not settled; the lane forgets them.
  std::vector<Share> forget_tasks();
  /// How many more it may have.
  [[nodiscard]] std::size_t quota() const noexcept { return quota_; }
  [[nodiscard]] bool may_take() const noexcept { return !closing_ && quota_ != 0; }

  // --- results ---

  [[nodiscard]] bool has_news() const noexcept {
    return is_there(taken_, std::memory_order_acquire) && !corrupt_;
  }
  /// Asks for the bell: see LaneHeader::ring_at. False if there is news already.
  bool arm(std::uint32_t results) noexcept;
  void disarm() noexcept;
  /// Reads what was committed. Returns how many tasks have ended, and how many
  /// nanoseconds so many of them, or the ones before, took.
  struct Took {
    std::uint64_t nanoseconds = 0;
    std::size_t timed = 0;
    std::size_t tasks = 0;
  };
  Took drain(Batch& batch);
  /// After the worker's death: what it had finished of its current task and
  /// not committed.
  void salvage(Batch& batch);
  /// The initializer's exception; null if it has none.
  [[nodiscard]] std::exception_ptr initializer_error() const { return initializer_error_; }
  /// What it wrote makes no sense: it has written over its own lane.
  [[nodiscard]] bool corrupt() const noexcept { return corrupt_; }

  // --- the worker ---

  /// In a forked child: lets go of memory and descriptors, and of nothing
  /// that could run code of the user's.
  void abandon_in_child() noexcept;
  /// No more tasks after those it has.
  void close() noexcept;
  [[nodiscard]] bool closing() const noexcept { return closing_; }
  [[nodiscard]] LaneHeader& header() const noexcept { return memory_.header(); }
  [[nodiscard]] bool has_started() const noexcept {
    return header().stage.load(std::memory_order_acquire) != LaneHeader::starting;
  }
  /// It was told to, has no task in hand and is on its way out.
  [[nodiscard]] bool has_left() const noexcept {
    return header().stage.load(std::memory_order_acquire) == LaneHeader::leaving;
  }

  Process process;
  const std::string name;
  const int pid;
  std::size_t done = 0;          ///< Items.
  bool seen_ready = false;       ///< The service thread has.
  std::uint64_t killed_for = 0;  ///< The id of the task whose limit was over; 0: none.
  bool doomed = false;           ///< Told to end at once; its tasks are failed already.

 private:
  [[nodiscard]] std::uint32_t begun() const noexcept;
  void release(const InFlight& task);
  [[nodiscard]] bool is_there(std::uint32_t result, std::memory_order order) const noexcept {
    return header().results[result % LaneHeader::depth].number.load(order) == result + 1;
  }
  void tell_taken() noexcept;
  void read_entry(const ResultEntry& entry, Batch& batch, Took& took);
  bool plausible(const ResultEntry& entry) const;
  static std::shared_ptr<Job> job_of(InFlight& task, std::size_t items);
  bool copy_bytes(const ResultEntry& entry, Batch& batch);

  LaneMemory memory_;
  RecordArena arena_{LaneMemory::arena_size};
  std::deque<InFlight> tasks_;  // Oldest first; the worker's order.
  std::uint32_t oldest_ = 0;    // The count of tasks_.front().
  std::uint32_t offered_ = 0;
  std::uint32_t shown_ = 0;  // Of these, the worker sees.
  std::uint32_t taken_ = 0;
  std::uint32_t told_ = 0;  // Of these, the worker knows.
  std::uint64_t untold_bytes_ = 0;
  std::uint64_t spilled_ = LaneMemory::task_spill;
  std::size_t quota_;
  bool closing_ = false;
  bool corrupt_ = false;
  std::exception_ptr initializer_error_;
};

}  // namespace mp::detail
