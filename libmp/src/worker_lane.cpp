#include "worker_lane.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "mp/remote_error.hpp"
#include "process_state.hpp"

namespace mp::detail {

WorkerLane::WorkerLane(Process worker, LaneMemory memory, std::optional<std::size_t> quota)
    : process(std::move(worker)),
      name(process.name()),
      pid(process.pid().value_or(0)),
      memory_(std::move(memory)),
      quota_(quota.value_or(std::numeric_limits<std::size_t>::max())) {}

// --- tasks -------------------------------------------------------------------

namespace {

// How many results, and bytes of them, the worker is let believe unread.
constexpr std::uint32_t most_untold = LaneHeader::depth / 4;
constexpr std::uint64_t most_untold_bytes = LaneMemory::arena_size / 8;

// The bytes of a share: head, items and, where they differ in size, the ends.
struct Message {
  std::span<const std::byte> head;
  std::span<const std::byte> items;
  std::vector<std::uint64_t> ends = {};

  explicit Message(const Share& share) : head(share.job->head.view()) {
    const Job& job = *share.job;
    const auto all = job.items.view();
    if (job.starts.empty()) {
      items = all.subspan(share.first * job.stride, share.count * job.stride);
      return;
    }
    const std::uint64_t begin = job.starts[share.first];
    items = all.subspan(begin, job.starts[share.first + share.count] - begin);
    for (std::size_t i = 1; i <= share.count; ++i) {
      ends.push_back(job.starts[share.first + i] - begin);
    }
  }
  [[nodiscard]] std::uint64_t size() const {
    return head.size() + items.size() + ends.size() * sizeof(std::uint64_t);
  }
  [[nodiscard]] std::array<std::span<const std::byte>, 3> pieces() const {
    return {head, items, std::as_bytes(std::span(ends))};
  }
};

}  // namespace

bool WorkerLane::put(Share& share) {
  if (task_count() == LaneHeader::depth) return false;
  const Message message(share);
  const Job& job = *share.job;
  InFlight task{.id = job.id, .limit = job.limit, .size = message.size()};
  const auto pieces = message.pieces();
  if (const auto offset = arena_.take(task.size)) {
    task.offset = *offset;
    std::byte* to = memory_.task_arena() + task.offset;
    for (const auto piece : pieces) {
      if (!piece.empty()) std::memcpy(to, piece.data(), piece.size());
      to += piece.size();
    }
  } else {
    if (!tasks_.empty()) return false;
    task.spilled = true;
    task.offset = spilled_;
    memory_.write_spill(spilled_, pieces);
  }
  TaskEntry& entry = header().tasks[offered_ % LaneHeader::depth];
  entry = {.id = job.id,
           .offset = task.offset,
           .size = task.size,
           .head = message.head.size(),
           .stride = job.stride,
           .budget = static_cast<std::uint64_t>(share.budget.count()),
           .count = static_cast<std::uint32_t>(share.count),
           .varied = !message.ends.empty(),
           .spilled = task.spilled};
  try {
    tasks_.push_back(std::move(task));
  } catch (...) {
    if (!entry.spilled) arena_.free_newest();
    throw;
  }
  tasks_.back().share = std::move(share);
  ++offered_;
  if (quota_ != std::numeric_limits<std::size_t>::max()) --quota_;
  return true;
}

void WorkerLane::offer() {
  if (shown_ == offered_) return;
  LaneHeader& lane = header();
  // A worker that has nothing else has begun all that it was shown: known without
  // a look, for which the line would travel once more.
  std::uint64_t cursor = pack(shown_, shown_);
  if (oldest_ != shown_) cursor = lane.cursor.load(std::memory_order_relaxed);
  while (!lane.cursor.compare_exchange_weak(cursor, pack(low_half(cursor), offered_),
                                            std::memory_order_seq_cst)) {
  }
  shown_ = offered_;
  if (lane.sleeping.load(std::memory_order_seq_cst) != 0 && lane.sleeping.exchange(0) != 0) {
    futex_wake(lane.sleeping, 1);
  }
}

std::uint32_t WorkerLane::begun() const noexcept {
  return low_half(header().cursor.load(std::memory_order_acquire));
}

std::size_t WorkerLane::waiting() const noexcept {
  // A worker that writes over its lane may say anything.
  return std::min<std::size_t>(offered_ - begun(), tasks_.size());
}

const WorkerLane::InFlight* WorkerLane::current() const noexcept {
  return tasks_.empty() || begun() == oldest_ ? nullptr : &tasks_.front();
}

std::optional<Share> WorkerLane::take_newest() {
  // A worker that writes over its lane may say that there are some.
  if (tasks_.empty()) return std::nullopt;
  LaneHeader& lane = header();
  std::uint64_t cursor = lane.cursor.load(std::memory_order_relaxed);
  do {
    if (low_half(cursor) == high_half(cursor)) return std::nullopt;
  } while (!lane.cursor.compare_exchange_weak(cursor, pack(low_half(cursor), high_half(cursor) - 1),
                                              std::memory_order_acq_rel));
  shown_ = --offered_;
  InFlight task = std::move(tasks_.back());
  tasks_.pop_back();
  if (task.spilled) {
    memory_.drop_spill(task.offset, task.size);
  } else {
    arena_.free_newest();
  }
  if (quota_ != std::numeric_limits<std::size_t>::max()) ++quota_;
  return std::move(task.share);
}

void WorkerLane::release(const InFlight& task) {
  if (task.spilled) {
    memory_.drop_spill(task.offset, task.size);
  } else {
    arena_.free_oldest();
  }
}

std::vector<Share> WorkerLane::forget_tasks() {
  std::vector<Share> shares;
  for (InFlight& task : tasks_) {
    Share rest = std::move(task.share);
    rest.first += task.settled;
    rest.count -= task.settled;
    if (rest.count != 0) shares.push_back(std::move(rest));
  }
  tasks_.clear();
  oldest_ = offered_;
  return shares;
}

// --- results -----------------------------------------------------------------

bool WorkerLane::arm(std::uint32_t results) noexcept {
  LaneHeader& lane = header();
  tell_taken();
  // A wish that is still there, and no later, needs not be made again.
  const std::uint64_t wished = lane.ring_at.load(std::memory_order_relaxed);
  if (wished == 0 || static_cast<std::int32_t>(low_half(wished) - (taken_ + results)) > 0) {
    lane.ring_at.store(pack(taken_ + results, 1), std::memory_order_seq_cst);
  }
  if (!is_there(taken_, std::memory_order_seq_cst) || corrupt_) return true;
  // Enough are there, or the worker has nothing to do: it may have looked
  // for this wish before it was there.
  return !is_there(taken_ + results - 1, std::memory_order_seq_cst) &&
         lane.task.load(std::memory_order_seq_cst) != 0;
}

void WorkerLane::disarm() noexcept {
  auto& wish = header().ring_at;
  if (wish.load(std::memory_order_relaxed) != 0) wish.store(0, std::memory_order_relaxed);
}

WorkerLane::Took WorkerLane::drain(Batch& batch) {
  Took took;
  const LaneHeader& lane = header();
  // A worker that writes over its lane may say that there is always more.
  for (std::uint32_t n = 0; n < LaneHeader::depth && has_news(); ++n, ++taken_) {
    // A copy: what is checked must not change afterwards.
    const ResultEntry entry = lane.results[taken_ % LaneHeader::depth];
    // What it does after its tasks were failed is nobody's result.
    if (!doomed) read_entry(entry, batch, took);
    if (entry.place != ResultEntry::Place::here) untold_bytes_ += entry.size;
  }
  // For the next task, while the results of these are told.
  if (took.tasks != 0 && tasks_.empty()) {
    prefetch_for_write(&header().tasks[offered_ % LaneHeader::depth]);
    prefetch_for_write(memory_.task_arena());
  }
  if (taken_ - told_ >= most_untold || untold_bytes_ >= most_untold_bytes ||
      lane.wants_room.load(std::memory_order_seq_cst) != 0) {
    tell_taken();
  }
  return took;
}

void WorkerLane::tell_taken() noexcept {
  if (told_ == taken_) return;
  LaneHeader& lane = header();
  told_ = taken_;
  untold_bytes_ = 0;
  lane.taken.store(taken_, std::memory_order_seq_cst);
  if (lane.wants_room.load(std::memory_order_seq_cst) != 0) futex_wake(lane.taken, 1);
}

bool WorkerLane::plausible(const ResultEntry& entry) const {
  if (tasks_.empty() || oldest_ == shown_) return false;
  const InFlight& task = tasks_.front();
  if (entry.id != task.id || entry.first != task.settled) return false;
  return entry.count <= task.share.count - task.settled;
}

// False if the entry names bytes that are not there.
bool WorkerLane::copy_bytes(const ResultEntry& entry, Batch& batch) {
  const std::size_t at = batch.bytes.size();
  if (entry.place == ResultEntry::Place::here) {
    if (entry.size > sizeof entry.offset) return false;
    const auto* bytes = reinterpret_cast<const std::byte*>(&entry.offset);
    batch.bytes.insert(batch.bytes.end(), bytes, bytes + entry.size);
    return true;
  }
  if (entry.place == ResultEntry::Place::spill) {
    if (entry.offset < LaneMemory::result_spill || entry.size > (std::uint64_t{1} << 48U)) {
      return false;
    }
    batch.bytes.resize(at + entry.size);
    memory_.read_spill(entry.offset, std::span(batch.bytes).subspan(at));
    return true;
  }
  if (entry.offset > LaneMemory::arena_size || entry.size > LaneMemory::arena_size - entry.offset) {
    return false;
  }
  const std::byte* from = memory_.result_arena() + entry.offset;
  batch.bytes.insert(batch.bytes.end(), from, from + entry.size);
  return true;
}

// For what was read of it. A job may be gone once it is told of its last item, while
// the worker has yet to say that it is through: where nothing more is to be told of
// it, it is not kept.
std::shared_ptr<Job> WorkerLane::job_of(InFlight& task, std::size_t items) {
  const bool kept = task.settled + items != task.share.count || task.share.budget != Duration{};
  return kept ? task.share.job : std::move(task.share.job);
}

void WorkerLane::read_entry(const ResultEntry& entry, Batch& batch, Took& took) {
  using Kind = ResultEntry::Kind;
  if (entry.kind == Kind::no_initializer) {
    Batch own;
    if (copy_bytes(entry, own)) {
      Decoder in(own.bytes);
      initializer_error_ = decode_exception(in);
    }
    return;
  }
  if (!plausible(entry)) {
    corrupt_ = true;
    return;
  }
  InFlight& task = tasks_.front();
  Share& share = task.share;
  if (entry.kind == Kind::given_back) {
    const std::size_t rest = share.count - task.settled;
    if (rest != 0) {
      batch.completions.push_back(
          {job_of(task, rest), share.first + task.settled, rest, entry.kind});
    }
    task.settled += rest;
  } else if (entry.count != 0) {
    Completion result{nullptr,    share.first + task.settled, entry.count,
                      entry.kind, batch.bytes.size(),         entry.size};
    try {
      if (!copy_bytes(entry, batch)) {
        corrupt_ = true;
        return;
      }
    } catch (...) {
      // No memory for it here: that is this result's failure.
      batch.bytes.resize(result.offset);
      result.error = std::current_exception();
    }
    result.job = job_of(task, entry.count);
    task.settled += entry.count;
    done += entry.count;
    batch.completions.push_back(std::move(result));
  }
  if (!entry.last) return;
  if (task.settled != share.count) {
    corrupt_ = true;
    return;
  }
  took.nanoseconds += entry.elapsed;
  took.timed += entry.elapsed != 0 ? 1 : 0;
  ++took.tasks;
  const std::size_t run = entry.kind == Kind::given_back ? entry.first : share.count;
  if (run != 0 && share.budget != Duration{}) {
    share.job->measured(run, Duration(entry.elapsed));
  }
  release(task);
  tasks_.pop_front();
  ++oldest_;
}

void WorkerLane::salvage(Batch& batch) {
  if (corrupt_ || current() == nullptr) return;
  const InFlight& task = tasks_.front();
  const LaneHeader& lane = header();
  const std::uint64_t open = lane.open.load(std::memory_order_acquire);
  if (lane.task.load(std::memory_order_relaxed) != task.id || low_half(open) == 0 ||
      lane.open_first.load(std::memory_order_relaxed) != task.settled) {
    return;
  }
  Took unused;
  read_entry({.id = task.id,
              .offset = lane.open_at.load(std::memory_order_relaxed),
              .size = high_half(open),
              .first = static_cast<std::uint32_t>(task.settled),
              .count = low_half(open)},
             batch, unused);
}

// --- the worker --------------------------------------------------------------

void WorkerLane::abandon_in_child() noexcept {
  memory_ = LaneMemory();
  ProcessAccess::state(process)->pidfd.reset();
}

void WorkerLane::close() noexcept {
  if (closing_) return;
  closing_ = true;
  LaneHeader& lane = header();
  lane.closing.store(1, std::memory_order_seq_cst);
  if (lane.sleeping.exchange(0, std::memory_order_seq_cst) != 0) futex_wake(lane.sleeping, 1);
}

}  // namespace mp::detail
