// Reading what workers have done, and waiting for it.

#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "mp/detail/jobs.hpp"
#include "mp/remote_error.hpp"
#include "process_engine.hpp"

namespace mp::detail {

namespace {

constexpr double most_results = 64;
// Nanoseconds for which a thread that waits for a result looks in any case.
constexpr std::int64_t shortest_look = 6'000;
constexpr std::size_t most_kept = 16U << 20U;

}  // namespace

// --- reading -----------------------------------------------------------------

bool ProcessEngine::any_news() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const auto& lane) { return lane->has_news(); });
}

void ProcessEngine::read_lanes(Batch& batch) {
  for (const auto& lane : lanes_) {
    // What is read must not be lost for want of room: else it is read later.
    try {
      batch.completions.reserve(batch.completions.size() + LaneHeader::depth);
    } catch (...) {
      break;
    }
    const auto took = lane->drain(batch);
    if (took.timed == 0) continue;
    const double each = static_cast<double>(took.nanoseconds) / static_cast<double>(took.timed) + 1;
    task_nanoseconds_ = task_nanoseconds_ == 0 ? each : (3 * task_nanoseconds_ + each) / 4;
  }
  requeue_given_back(batch);
}

// What a worker gave back is the next to be handed out.
void ProcessEngine::requeue_given_back(Batch& batch) {
  for (auto& result : batch.completions) {
    if (result.kind != ResultEntry::Kind::given_back) continue;
    put_back(Share{std::move(result.job), result.first, result.count, 0, {}});
  }
  std::erase_if(batch.completions, [](const Completion& result) {
    return result.kind == ResultEntry::Kind::given_back;
  });
}

bool ProcessEngine::work() { return work(std::unique_lock(mutex_)); }

bool ProcessEngine::work(std::unique_lock<ForkSafeMutex> lock, bool* leave) {
  if (interrupted_) return false;
  // Kept from call to call, as it may have grown to megabytes.
  thread_local Batch spare;
  Batch batch = std::exchange(spare, {});
  read_lanes(batch);
  count(batch);
  feed();
  if (leave != nullptr && std::all_of(lanes_.begin(), lanes_.end(),
                                      [](const auto& lane) { return lane->tasks().empty(); })) {
    *leave = true;
    --spinners_;
    --helpers_;
  }
  lock.unlock();
  const bool any = !batch.completions.empty();
  tell(batch);
  batch.completions.clear();
  batch.bytes.clear();
  if (batch.bytes.capacity() <= most_kept) spare = std::move(batch);
  return any;
}

// Before anybody is told, so that who was told finds it counted.
void ProcessEngine::count(const Batch& batch) {
  for (const auto& result : batch.completions) {
    const bool failed = result.error || result.kind == ResultEntry::Kind::error;
    (failed ? failed_ : done_) += result.count;
  }
}

void ProcessEngine::tell(Batch& batch) {
  std::size_t items = 0;
  std::size_t undecodable = 0;
  for (const auto& result : batch.completions) {
    items += result.count;
    undecodable += deliver(result, batch.bytes);
  }
  if (items != 0) settled(items, undecodable);
}

// Returns how many of its items were counted as done and are failures. What is
// wrong with one result costs no other.
std::size_t ProcessEngine::deliver(const Completion& result, std::span<const std::byte> bytes) {
  Job& job = *result.job;
  const bool counted_as_done = !result.error && result.kind != ResultEntry::Kind::error;
  std::exception_ptr error = result.error;
  if (!error) {
    try {
      Decoder in(bytes.subspan(result.offset, result.size));
      if (counted_as_done) return job.deliver(result.first, result.count, in);
      error = decode_exception(in, job.callee.name());
    } catch (...) {
      error = std::current_exception();
    }
  }
  call_guarded([&] { job.fail(result.first, result.count, error); });
  return counted_as_done ? result.count : 0;
}

// --- waiting -----------------------------------------------------------------

void ProcessEngine::ring() noexcept {
  const std::uint64_t one = 1;
  // It fails only where the bell rings anyhow: at a count of 2^64 - 2.
  (void)!::write(bell_.get(), &one, sizeof one);
}

bool ProcessEngine::arm() {
  bool quiet = true;
  for (const auto& lane : lanes_) {
    if (lane->tasks().empty()) continue;
    double results = 1;
    if (task_nanoseconds_ != 0) {
      results = std::clamp(wake_nanoseconds / task_nanoseconds_, 1.0, most_results);
    }
    // Behind the results of short tasks there may be a long one.
    if (results >= 2 && lane->task_count() > 1) look_soon_ = true;
    if (!lane->arm(static_cast<std::uint32_t>(results))) quiet = false;
  }
  return quiet;
}

void ProcessEngine::disarm() {
  for (const auto& lane : lanes_) lane->disarm();
}

// After tasks were handed out: sees to it that somebody looks for results.
void ProcessEngine::watch_lanes() {
  // Who helps to read results keeps no time limits.
  if (shortest_limit_ && service_sleeps_ && *shortest_limit_ < service_nap_) ring();
  if (spinners_ != 0) return;
  // A service thread that is awake looks before it sleeps.
  if (serving_ && !service_sleeps_) return;
  const bool quiet = arm();
  // With short tasks it looks by itself often enough: no system call for each.
  if (look_soon_ && service_looks_) return;
  if (!quiet || (look_soon_ && helpers_ == 0)) ring();
}

// Only where it takes no core from a worker that computes.
bool ProcessEngine::may_spin() const {
  static const int cores = process_cpu_count();
  const auto busy = std::count_if(lanes_.begin(), lanes_.end(),
                                  [](const auto& lane) { return !lane->tasks().empty(); });
  return busy < cores;
}

void ProcessEngine::help_own(const Signal& signal, std::uint32_t seen, const Deadline& deadline,
                             const Job* /*wanted*/) {
  help_locked(std::unique_lock(mutex_), signal, seen, deadline);
}

void ProcessEngine::help_locked(std::unique_lock<ForkSafeMutex> lock, const Signal& signal,
                                std::uint32_t seen, const Deadline& deadline) {
  ++helpers_;
  const bool spin = may_spin();
  if (spin) {
    ++spinners_;
    disarm();
  }
  lock.unlock();
  bool left = false;
  const auto changed = [&] {
    if (signal.value() != seen) return true;
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || !any_news()) return false;
    work(std::move(lock), &left);
    return left || signal.value() != seen;
  };
  if (!spin) {
    work();
  } else if (!linger(shortest_look, changed)) {
    spin_(changed);
  }
  if (left) return;
  Duration nap = patience;
  {
    const std::lock_guard guard(mutex_);
    if (spin) --spinners_;
    if (signal.value() != seen) {
      --helpers_;
      watch_lanes();
      return;
    }
    if (spinners_ == 0 && !arm()) nap = Duration::zero();
    if (nap != Duration::zero() && !look_soon_) nap = Duration::max();
  }
  if (signal.value() == seen && nap != Duration::zero()) {
    signal.wait(seen,
                nap == Duration::max() ? deadline : Deadline(deadline.remaining_at_most(nap)));
  }
  const std::lock_guard guard(mutex_);
  if (--helpers_ == 0) watch_lanes();
}

}  // namespace mp::detail
