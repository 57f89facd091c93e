#pragma once

// The memory between a pool and one of its workers.

#include <sched.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "mp/detail/os.hpp"
#include "mp/pickle.hpp"
#include "spin.hpp"
#include "task_progress.hpp"

namespace mp::detail {

/// A task in a lane. Written by the pool before it is offered, read by the
/// worker once it has begun it.
struct TaskEntry {
  std::uint64_t id = 0;
  std::uint64_t offset = 0;  ///< Of the bytes: head, items, then the items' ends if `varied`.
  std::uint64_t size = 0;
  std::uint64_t head = 0;    ///< How much of that is the head.
  std::uint64_t stride = 0;  ///< The size of each item, unless `varied`.
  std::uint64_t budget = 0;  ///< Nanoseconds after which items are handed back; 0: never.
  std::uint32_t count = 0;
  bool varied = false;
  bool spilled = false;
};

/// Some results of a task. Written by the worker before it is committed.
struct ResultEntry {
  enum class Kind : std::uint8_t {
    values,          ///< Of the items [first, first + count).
    error,           ///< Of the item `first`.
    given_back,      ///< The items from `first` on were not begun.
    no_initializer,  ///< The worker's initializer threw this.
  };
  enum class Place : std::uint8_t { arena, spill, here };
  std::uint64_t id = 0;
  std::uint64_t offset = 0;  ///< Or the bytes themselves, where the place is `here`.
  std::uint64_t size = 0;
  /// In a task's last entry: the nanoseconds it took, if it has a budget; else those
  /// of the task before, as no answer waits for the clock; 0: not known.
  std::uint64_t elapsed = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  Kind kind{};
  Place place{};
  bool last = false;  ///< The task is over.
};

/// What both processes see.
///
/// Invariants:
///   1. `cursor` is {begun, offered}, two counts of tasks that wrap around, in
///      one word. The worker raises `begun`, the pool moves `offered`, both by
///      compare-and-swap, so a task is either begun or taken back, never both.
///      Entry n lies in tasks[n % depth].
///   2. Result n lies in results[n % depth], and is there by the store of its
///      `number`, n + 1. `taken` says how many were read. It is told late, as
///      long as the worker has room: each store costs the pool a line that
///      the worker looks at.
///   3. {`open_items`, `open_size`} is one word: how many items of the current
///      task have their values, so many bytes, at `open_at`, not committed yet.
///      One store after each item, so a death costs exactly one item.
///   4. Whoever goes to sleep says so first, then looks again; who makes
///      something happen looks for sleepers afterwards. Both sequentially
///      consistent: one of them sees the other.
/// Stores release and loads acquire, where nothing else is said.
struct LaneHeader {
  static constexpr std::uint32_t depth = 256;
  enum Stage : std::uint32_t { starting, ready, leaving };

  // Both.
  alignas(64) std::atomic<std::uint64_t> cursor;
  // The pool's.
  alignas(64) std::atomic<std::uint32_t> taken;
  std::atomic<std::uint32_t> closing;
  /// {a count, 1}: ring the bell once so many results are committed, or when
  /// the worker is out of tasks and about to sleep; 0: never.
  std::atomic<std::uint64_t> ring_at;
  // The worker's: what the pool looks at over and over, changed seldom;
  alignas(64) std::atomic<std::uint32_t> sleeping;  ///< It waits for a task.
  std::atomic<std::uint32_t> wants_room;            ///< It waits for `taken` to move.
  std::atomic<std::uint32_t> stage;
  std::atomic<std::uint32_t> wants_to_leave;  ///< It has grown too large.
  // and what it changes with each task and item.
  alignas(64) std::atomic<std::uint64_t> task;  ///< The id of the task it is at; 0: none.
  std::atomic<std::int64_t> begun_at;           ///< On the monotonic clock.
  std::atomic<std::uint64_t> open;
  std::atomic<std::uint64_t> open_at;
  std::atomic<std::uint32_t> open_first;  ///< The first item that `open_items` counts.
  TaskProgress progress;
  // Each entry in a line of its own: they go from core to core one by one.
  struct alignas(64) TaskLine : TaskEntry {};
  struct alignas(64) ResultLine : ResultEntry {
    std::atomic<std::uint32_t> number;
  };
  static_assert(sizeof(TaskLine) == 64 && sizeof(ResultLine) == 64);
  std::array<TaskLine, depth> tasks;
  std::array<ResultLine, depth> results;
};

/// Memory that one side writes records to and frees in the order of writing.
/// Kept small and warm: it starts over whenever nothing is in it.
class RecordArena {
 public:
  explicit RecordArena(std::uint64_t capacity) : capacity_(capacity) {}
  /// Room for a record; empty if there is none now.
  std::optional<std::uint64_t> take(std::uint64_t size);
  /// The largest piece that take() would give.
  [[nodiscard]] std::uint64_t widest() const;
  void free_oldest();
  void free_newest();

 private:
  struct Piece {
    std::uint64_t begin;
    std::uint64_t end;
  };
  [[nodiscard]] std::uint64_t room_at_head() const;
  std::uint64_t capacity_;
  std::uint64_t head_ = 0;
  std::deque<Piece> pieces_;  // Oldest first.
};

/// The mapping, and how records go in and out. A record that has no room in
/// the arena is spilled: written into the file beyond it, and the file's
/// pages given back when it has been read.
class LaneMemory {
 public:
  static constexpr std::uint64_t arena_size = 4U << 20U;

  LaneMemory() = default;
  static LaneMemory create();
  static LaneMemory attach(UniqueFd fd);

  [[nodiscard]] LaneHeader& header() const noexcept {
    return *reinterpret_cast<LaneHeader*>(mapping_.data());
  }
  [[nodiscard]] int fd() const noexcept { return mapping_.fd(); }
  /// For the worker.
  [[nodiscard]] UniqueFd duplicate_fd() const;
  [[nodiscard]] std::byte* task_arena() const noexcept;
  [[nodiscard]] std::byte* result_arena() const noexcept;

  using Pieces = std::span<const std::span<const std::byte>>;
  /// Throws std::system_error when there is no memory.
  void write_spill(std::uint64_t offset, Pieces pieces) const;
  void read_spill(std::uint64_t offset, std::span<std::byte> into) const;
  void drop_spill(std::uint64_t offset, std::uint64_t size) const noexcept;

  static constexpr std::uint64_t task_spill = std::uint64_t{1} << 40U;
  static constexpr std::uint64_t result_spill = std::uint64_t{1} << 50U;

 private:
  explicit LaneMemory(SharedMapping mapping) : mapping_(std::move(mapping)) {}
  SharedMapping mapping_;
};

/// Has the line fetched from the core that has it, to be written soon, while
/// other things are done.
inline void prefetch_for_write(const void* line) noexcept {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
#else
  __builtin_prefetch(line, 1);
#endif
}

inline std::uint64_t pack(std::uint32_t low, std::uint32_t high) noexcept {
  return std::uint64_t{high} << 32U | low;
}
inline std::uint32_t low_half(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word);
}
inline std::uint32_t high_half(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 32U);
}

/// Nanoseconds on the monotonic clock, which all processes share.
std::int64_t monotonic_now() noexcept;

/// Calls `found` for so many nanoseconds, or until it returns true: always a
/// moment, shorter than it takes to fall asleep and be woken. `pause` is what is
/// done between one look and the next.
template <class Found, class Pause = void (*)()>
bool linger(std::int64_t nanoseconds, Found found, Pause pause = spin_pause) {
  if (!has_several_cores()) return false;
  constexpr int first_looks = 120;  // For about as long as a short answer takes.
  for (int i = 0; i < first_looks; ++i) {
    if (found()) return true;
    pause();
  }
  const std::int64_t end = monotonic_now() + nanoseconds;
  do {
    // On a busy machine the other side may be waiting for this very core.
    ::sched_yield();
    for (int i = 0; i < 8; ++i) {
      pause();
      if (found()) return true;
    }
  } while (monotonic_now() < end);
  return false;
}

/// The worker's side: takes tasks, gives results. Single-threaded.
class Lane {
 public:
  Lane(LaneMemory memory, UniqueFd bell) : memory_(std::move(memory)), bell_(std::move(bell)) {}

  /// The next task, begun; empty when the pool wants no more of this worker.
  const TaskEntry* next();
  /// The bytes of the task that next() gave.
  std::span<const std::byte> bytes();
  [[nodiscard]] const TaskEntry& task() const noexcept { return task_; }

  /// Where the room begins in the arena.
  [[nodiscard]] std::uint64_t room_offset() const noexcept { return room_at_; }
  /// The widest room for results that there is now, until a commit.
  std::span<std::byte> room();
  [[nodiscard]] LaneHeader& header() const noexcept { return memory_.header(); }
  /// Commits `size` bytes of the room, or any other bytes.
  void commit_room(ResultEntry entry, std::uint64_t size);
  void commit(ResultEntry entry, std::span<const std::byte> bytes);
  /// How many nanoseconds the task has taken, which is at its end. The next one, if
  /// it is there already, begins now.
  std::int64_t time_task() noexcept {
    read_clock();
    return last_time_;
  }
  /// The same of the task before, whose time was taken when there was some to spare.
  [[nodiscard]] std::int64_t last_time() const noexcept { return last_time_; }
  /// Makes the pool look, whether it asked to be told or not.
  void ring();

 private:
  bool begin_task();
  std::int64_t read_clock() noexcept;
  void sleep();
  void free_taken();
  void commit_here(ResultEntry entry, std::span<const std::byte> bytes);
  void publish(const ResultEntry& entry);
  void ring_if_wanted(bool out_of_tasks);

  LaneMemory memory_;
  UniqueFd bell_;
  RecordArena arena_{LaneMemory::arena_size};
  struct Kept {
    bool in_arena;
    std::uint64_t offset;
    std::uint64_t size;
  };
  std::deque<Kept> kept_;  // Committed and not freed yet, oldest first.
  std::uint32_t committed_ = 0;
  std::uint32_t freed_ = 0;
  std::uint64_t spilled_ = 0;  // Where the next spilled record goes.
  std::uint64_t room_at_ = 0;
  std::int64_t now_ = 0;        // The clock's last reading, if that is a moment ago; else 0.
  std::int64_t begun_ = 0;      // The current task, or the last;
  std::int64_t last_time_ = 0;  // how long the last one took whose time was taken,
  bool untimed_ = false;        // and whether that of `begun_` was not yet.
  TaskEntry task_;
  std::optional<std::vector<std::byte>> spilled_task_;
  AdaptiveSpin spin_;
};

}  // namespace mp::detail
