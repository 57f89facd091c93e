#include "lane.hpp"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

namespace mp::detail {

namespace {

// Records begin at multiples of this, so that none is empty.
constexpr std::uint64_t grain = 16;

// Nanoseconds for which a worker without a task stays awake in any case.
constexpr std::int64_t shortest_look = 4'000;

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t header_size = (sizeof(LaneHeader) + page - 1) / page * page;

std::uint64_t rounded(std::uint64_t size) {
  return std::max((size + grain - 1) / grain * grain, grain);
}

}  // namespace

std::int64_t monotonic_now() noexcept {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

// --- RecordArena -------------------------------------------------------------

std::uint64_t RecordArena::room_at_head() const {
  if (pieces_.empty()) return capacity_;
  const std::uint64_t oldest = pieces_.front().begin;
  return head_ > oldest ? capacity_ - head_ : oldest - head_;
}

std::uint64_t RecordArena::widest() const {
  const std::uint64_t here = room_at_head();
  if (pieces_.empty() || head_ <= pieces_.front().begin) return here;
  return std::max(here, pieces_.front().begin);
}

std::optional<std::uint64_t> RecordArena::take(std::uint64_t size) {
  size = rounded(size);
  if (pieces_.empty()) head_ = 0;
  if (size > room_at_head()) {
    // Wrap around, if the oldest record leaves room before it.
    if (pieces_.empty() || head_ <= pieces_.front().begin || size > pieces_.front().begin) {
      return std::nullopt;
    }
    head_ = 0;
  }
  const std::uint64_t begin = head_;
  head_ += size;
  pieces_.push_back({begin, head_});
  return begin;
}

void RecordArena::free_oldest() { pieces_.pop_front(); }

void RecordArena::free_newest() {
  head_ = pieces_.back().begin;
  pieces_.pop_back();
}

// --- LaneMemory --------------------------------------------------------------

LaneMemory LaneMemory::create() {
  return LaneMemory(SharedMapping::create("mp-lane", header_size + 2 * arena_size));
}

LaneMemory LaneMemory::attach(UniqueFd fd) {
  return LaneMemory(SharedMapping::attach(std::move(fd), header_size + 2 * arena_size));
}

UniqueFd LaneMemory::duplicate_fd() const { return UniqueFd::duplicate(fd()); }

std::byte* LaneMemory::task_arena() const noexcept { return mapping_.data() + header_size; }
std::byte* LaneMemory::result_arena() const noexcept { return task_arena() + arena_size; }

void LaneMemory::write_spill(std::uint64_t offset, Pieces pieces) const {
  for (auto piece : pieces) {
    while (!piece.empty()) {
      const ssize_t written =
          ::pwrite(fd(), piece.data(), piece.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      check(written, "pwrite");
      piece = piece.subspan(static_cast<std::size_t>(written));
      offset += static_cast<std::uint64_t>(written);
    }
  }
}

void LaneMemory::read_spill(std::uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t got = ::pread(fd(), into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    check(got, "pread");
    if (got == 0) throw_errno("pread", EIO);  // Shorter than its entry says.
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

void LaneMemory::drop_spill(std::uint64_t offset, std::uint64_t size) const noexcept {
  // A hole that cannot be made costs memory until the lane goes, no more.
  (void)::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                    static_cast<off_t>(size));
}

// --- Lane: tasks -------------------------------------------------------------

bool Lane::begin_task() {
  LaneHeader& lane = header();
  std::uint64_t cursor = lane.cursor.load(std::memory_order_seq_cst);
  while (low_half(cursor) != high_half(cursor)) {
    const std::uint32_t begun = low_half(cursor);
    // On their way while the cursor is claimed: the entry, and where the bytes
    // of a task lie that came alone.
    __builtin_prefetch(&lane.tasks[begun % LaneHeader::depth]);
    __builtin_prefetch(memory_.task_arena());
    if (!lane.cursor.compare_exchange_weak(cursor, pack(begun + 1, high_half(cursor)),
                                           std::memory_order_acq_rel)) {
      continue;
    }
    // While the task runs.
    prefetch_for_write(&lane.results[committed_ % LaneHeader::depth]);
    task_ = lane.tasks[begun % LaneHeader::depth];
    spilled_task_.reset();
    lane.open.store(0, std::memory_order_relaxed);
    lane.open_first.store(0, std::memory_order_relaxed);
    begun_ = now_ != 0 ? now_ : read_clock();
    now_ = 0;
    untimed_ = true;
    lane.begun_at.store(begun_, std::memory_order_relaxed);
    lane.task.store(task_.id, std::memory_order_release);
    return true;
  }
  return false;
}

std::int64_t Lane::read_clock() noexcept {
  now_ = monotonic_now();
  if (std::exchange(untimed_, false)) last_time_ = std::max<std::int64_t>(now_ - begun_, 1);
  return now_;
}

const TaskEntry* Lane::next() {
  LaneHeader& lane = header();
  lane.task.store(0, std::memory_order_seq_cst);
  for (;;) {
    if (begin_task()) return &task_;
    if (lane.closing.load(std::memory_order_acquire) != 0) {
      ring_if_wanted(true);
      return nullptr;
    }
    // Now, as what follows may be a long sleep: that is no part of the task's time.
    read_clock();
    const auto found = [&] {
      // To be written at once when a task is there: asked for as such, the line
      // travels once and not twice.
      prefetch_for_write(&lane.cursor);
      const std::uint64_t cursor = lane.cursor.load(std::memory_order_relaxed);
      return low_half(cursor) != high_half(cursor) ||
             lane.closing.load(std::memory_order_relaxed) != 0;
    };
    // A look at the clock takes about as long as a pause does, and the task that
    // comes need not wait for one.
    if (linger(shortest_look, found, [&] { read_clock(); })) continue;
    now_ = 0;
    if (spin_(found)) continue;
    // Not before: what follows at once makes the bell needless.
    ring_if_wanted(true);
    sleep();
  }
}

void Lane::sleep() {
  LaneHeader& lane = header();
  lane.sleeping.store(1, std::memory_order_seq_cst);
  const std::uint64_t cursor = lane.cursor.load(std::memory_order_seq_cst);
  if (low_half(cursor) == high_half(cursor) && lane.closing.load(std::memory_order_seq_cst) == 0) {
    futex_wait(lane.sleeping, 1, std::nullopt);
  }
  lane.sleeping.store(0, std::memory_order_relaxed);
}

std::span<const std::byte> Lane::bytes() {
  if (!task_.spilled) return {memory_.task_arena() + task_.offset, task_.size};
  if (!spilled_task_) {
    std::vector<std::byte> read(task_.size);
    memory_.read_spill(task_.offset, read);
    spilled_task_ = std::move(read);
  }
  return *spilled_task_;
}

// --- Lane: results -----------------------------------------------------------

void Lane::free_taken() {
  const std::uint32_t taken = header().taken.load(std::memory_order_acquire);
  while (freed_ != taken) {
    const Kept oldest = kept_.front();
    kept_.pop_front();
    if (oldest.in_arena) {
      arena_.free_oldest();
    } else if (oldest.size != 0) {
      memory_.drop_spill(oldest.offset, oldest.size);
    }
    ++freed_;
  }
  if (kept_.empty()) spilled_ = LaneMemory::result_spill;
}

std::span<std::byte> Lane::room() {
  free_taken();
  const std::uint64_t size = arena_.widest() / grain * grain;
  if (size == 0) return {};
  room_at_ = *arena_.take(size);
  arena_.free_newest();
  return {memory_.result_arena() + room_at_, size};
}

void Lane::commit_room(ResultEntry entry, std::uint64_t size) {
  if (size <= sizeof(ResultEntry::offset)) {
    return commit_here(entry, {memory_.result_arena() + room_at_, size});
  }
  entry.offset = *arena_.take(size);
  entry.size = size;
  kept_.push_back({true, entry.offset, size});
  publish(entry);
}

void Lane::commit(ResultEntry entry, std::span<const std::byte> bytes) {
  free_taken();
  if (bytes.size() <= sizeof(ResultEntry::offset)) return commit_here(entry, bytes);
  entry.size = bytes.size();
  if (const auto offset = arena_.take(bytes.size())) {
    std::memcpy(memory_.result_arena() + *offset, bytes.data(), bytes.size());
    entry.offset = *offset;
    kept_.push_back({true, *offset, bytes.size()});
  } else {
    const std::uint64_t at = std::max(spilled_, LaneMemory::result_spill);
    memory_.write_spill(at, {&bytes, 1});
    entry.offset = at;
    entry.place = ResultEntry::Place::spill;
    spilled_ = (at + bytes.size() + page - 1) / page * page;
    kept_.push_back({false, at, bytes.size()});
  }
  publish(entry);
}

// In the entry's own line: one line to go from core to core, not two.
void Lane::commit_here(ResultEntry entry, std::span<const std::byte> bytes) {
  entry.size = bytes.size();
  entry.place = ResultEntry::Place::here;
  if (!bytes.empty()) std::memcpy(&entry.offset, bytes.data(), bytes.size());
  kept_.push_back({false, 0, 0});
  publish(entry);
}

void Lane::publish(const ResultEntry& entry) {
  LaneHeader& lane = header();
  while (committed_ - lane.taken.load(std::memory_order_acquire) == LaneHeader::depth) {
    // Full: the pool is asked to take some. It never waits for this worker.
    const std::uint32_t taken = lane.taken.load(std::memory_order_relaxed);
    lane.wants_room.store(1, std::memory_order_seq_cst);
    ring();
    if (lane.taken.load(std::memory_order_seq_cst) == taken) {
      futex_wait(lane.taken, taken, std::nullopt);
    }
    now_ = 0;  // The next task does not begin before this wait has ended.
    lane.wants_room.store(0, std::memory_order_relaxed);
  }
  auto& line = lane.results[committed_ % LaneHeader::depth];
  static_cast<ResultEntry&>(line) = entry;
  ++committed_;
  line.number.store(committed_, std::memory_order_seq_cst);
  ring_if_wanted(false);
}

void Lane::ring_if_wanted(bool out_of_tasks) {
  LaneHeader& lane = header();
  std::uint64_t wanted = lane.ring_at.load(std::memory_order_seq_cst);
  if (wanted == 0) return;
  const bool reached = static_cast<std::int32_t>(committed_ - low_half(wanted)) >= 0;
  const bool news = committed_ != lane.taken.load(std::memory_order_acquire);
  if (!reached && !(out_of_tasks && news)) return;
  if (lane.ring_at.compare_exchange_strong(wanted, 0)) ring();
}

void Lane::ring() {
  const std::uint64_t one = 1;
  // It fails only where the pool could not miss it: at a count of 2^64 - 2.
  (void)!::write(bell_.get(), &one, sizeof one);
}

}  // namespace mp::detail
