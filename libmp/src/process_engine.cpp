#include "process_engine.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "mp/detail/exit_work.hpp"
#include "process_state.hpp"
#include "worker.hpp"
#include "worker_death.hpp"

namespace mp::detail {

namespace {

// What a lane holds ahead is to keep its worker busy for about so long.
constexpr double lane_nanoseconds = 500'000;
constexpr std::size_t least_depth = 2;
constexpr std::size_t deepest = 200;
// Tasks behind a longer one are moved when that has run for so long.
constexpr std::int64_t long_nanoseconds = 100'000;

}  // namespace

ProcessEngine::ProcessEngine(EngineOptions options)
    : Engine(std::move(options)),
      share_(std::max(1, default_workers() / static_cast<int>(options_.workers))),
      blocked_signals_(blocked_signals()),
      bell_(opened(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")),
      oom_kills_(out_of_memory_kills()) {
  enroll();
}

ProcessEngine::~ProcessEngine() {
  if (!is_own()) return;
  sign_off();
  remove_exit_work(exit_work_);
}

void ProcessEngine::open() {
  exit_work_ = end_with_program(weak_from_this());
  if (options_.on_demand) return;
  try {
    for (std::size_t i = 0; i < options_.workers; ++i) {
      auto lane = start_worker();
      const std::lock_guard guard(mutex_);
      admit(std::move(lane));
    }
    ensure_service();
  } catch (...) {
    end_unserved();
    throw;
  }
}

void ProcessEngine::end_unserved() {
  std::vector<std::unique_ptr<WorkerLane>> lanes;
  {
    const std::lock_guard guard(mutex_);
    lanes = std::exchange(lanes_, {});
    for (const auto& lane : lanes) {
      for (Share& share : lane->forget_tasks()) put_back(std::move(share));
    }
  }
  for (const auto& lane : lanes) {
    lane->process.kill();
    lane->process.join();
  }
}

// --- workers -----------------------------------------------------------------

std::unique_ptr<WorkerLane> ProcessEngine::start_worker() {
  LaneMemory memory = LaneMemory::create();
  const StartMethod method = chosen_method(options_.start_method);
  Process process({.daemon = true, .start_method = method});
  // Python's: the class with "PoolWorker" for "Process", and the count.
  static constexpr const char* prefixes[] = {"Fork", "Spawn", "ForkServer"};
  const std::string name = process.name();
  process.set_name(prefixes[static_cast<std::size_t>(method)] + options_.name +
                   name.substr(name.find('-')));
  ProcessAccess::set_task(process, make_worker({.lane = memory.duplicate_fd(),
                                                .bell = bell_.duplicate(),
                                                .default_workers = share_,
                                                .max_rss = options_.max_rss,
                                                .blocked_signals = blocked_signals_},
                                               options_.initializer));
  process.start();
  return std::make_unique<WorkerLane>(std::move(process), std::move(memory), options_.max_tasks);
}

void ProcessEngine::prepare() {
  if (options_.on_demand) start_on_demand();
}

// Under fork all at once, before this process has a thread of libmp's; else
// one, while none is idle. The first in the caller's thread, as it may fail.
void ProcessEngine::start_on_demand() {
  const bool all = chosen_method(options_.start_method) == StartMethod::fork;
  bool first = false;
  {
    const std::lock_guard guard(mutex_);
    if (phase_ != Phase::running || broken_) return;
    first = lanes_.empty() && starting_ == 0 && !serving_;
    if (!first && all) return;
    const auto idle = std::count_if(lanes_.begin(), lanes_.end(), [](const auto& lane) {
      return lane->tasks().empty() && lane->may_take();
    });
    const std::size_t here = lanes_.size() + starting_;
    if (here >= options_.workers || static_cast<std::size_t>(idle) > pending_.size()) return;
    starting_ += all ? options_.workers : 1;
  }
  std::vector<std::unique_ptr<WorkerLane>> started;
  std::exception_ptr refusal;
  const std::size_t wanted = all ? options_.workers : 1;
  try {
    for (std::size_t i = 0; i < wanted; ++i) started.push_back(start_worker());
  } catch (...) {
    refusal = std::current_exception();
  }
  {
    const std::lock_guard guard(mutex_);
    starting_ -= wanted;
    for (auto& lane : started) admit(std::move(lane));
    // With at least one worker the work goes on.
    if (lanes_.empty() && refusal) std::rethrow_exception(refusal);
  }
  try {
    ensure_service();
  } catch (...) {
    end_unserved();
    throw;
  }
  ring();
}

// --- handing out -------------------------------------------------------------

std::size_t ProcessEngine::depth() const {
  if (task_nanoseconds_ == 0) return least_depth;
  return std::clamp(static_cast<std::size_t>(lane_nanoseconds / task_nanoseconds_), least_depth,
                    deepest);
}

bool ProcessEngine::put(WorkerLane& lane, Share share) {
  const Timeout& limit = share.job->limit;
  if (limit && (!shortest_limit_ || *limit < *shortest_limit_)) shortest_limit_ = limit;
  try {
    if (lane.put(share)) return true;
    put_back(std::move(share));
    return false;
  } catch (...) {
    // No memory to hand it over in. Told by the service thread, as the mutex
    // is held here.
    refused_.push_back({std::move(share), std::current_exception()});
    ring();
    return true;
  }
}

// Whether some worker is awake that will be through with what it has sooner
// than a sleeping one could be woken.
bool ProcessEngine::somebody_is_quicker() const {
  if (task_nanoseconds_ == 0) return false;
  return std::any_of(lanes_.begin(), lanes_.end(), [&](const auto& lane) {
    return !lane->asleep() && lane->has_started() && lane->may_take() &&
           static_cast<double>(lane->waiting() + 1) * task_nanoseconds_ < wake_nanoseconds;
  });
}

// The lane with the fewest tasks, of those that are to have another: one that
// sleeps only where the others have all that they are to have, or are no
// quicker. Null if there is none.
WorkerLane* ProcessEngine::shortest_lane(bool automatic) const {
  WorkerLane* shortest = nullptr;
  WorkerLane* sleeper = nullptr;
  bool sleepers_wait = false;
  bool known = false;
  for (const auto& lane : lanes_) {
    const std::size_t tasks = lane->task_count();
    // Chunks of automatic size are long enough that one ahead will do.
    if (!lane->may_take() || (tasks >= least_depth && (automatic || tasks >= depth()))) continue;
    if (shortest != nullptr && tasks >= shortest->task_count()) continue;
    if (tasks == 0 && lane->asleep()) {
      if (!std::exchange(known, true)) sleepers_wait = somebody_is_quicker();
      if (sleepers_wait) {
        sleeper = lane.get();
        continue;
      }
    }
    shortest = lane.get();
  }
  return shortest != nullptr ? shortest : sleeper;
}

// What a worker is at, or about to begin, needs nobody else; nor a look at its cursor.
bool ProcessEngine::has_spare_tasks(const std::unique_ptr<WorkerLane>& lane) {
  return lane->task_count() >= (lane->has_started() ? 2 : 1);
}

void ProcessEngine::feed() noexcept {
  try {
    hand_out();
  } catch (...) {
    // No memory for it. What is pending stays so, and is looked at again soon.
    look_soon_ = true;
    if (service_sleeps_) ring();
  }
}

void ProcessEngine::hand_out() {
  look_soon_ = false;
  if (phase_ == Phase::terminated || broken_ || interrupted_) return;
  while (!pending_.empty()) {
    WorkerLane* lane = shortest_lane(pending_.front().job->chunk == automatic_chunks);
    if (lane == nullptr || !put(*lane, take_share())) break;
  }
  if (pending_.empty() && std::any_of(lanes_.begin(), lanes_.end(), has_spare_tasks)) rebalance();
  for (const auto& lane : lanes_) {
    lane->offer();
    // With as many tasks as it may have it goes when they are done.
    if (!lane->may_take()) lane->close();
  }
}

// Whether a worker will not come to its next tasks at once.
bool ProcessEngine::is_held_up(const WorkerLane& lane) const {
  if (!lane.has_started()) return true;  // Its initializer may take for ever.
  if (lane.current() == nullptr) return false;
  const std::int64_t running =
      monotonic_now() - lane.header().begun_at.load(std::memory_order_relaxed);
  return running >= long_nanoseconds || static_cast<double>(lane.waiting()) * task_nanoseconds_ >=
                                            static_cast<double>(long_nanoseconds);
}

// A worker without a task takes over half of what waits behind another's, or as
// much as it may still have.
void ProcessEngine::rebalance() {
  for (const auto& idle : lanes_) {
    if (!idle->tasks().empty() || !idle->may_take()) continue;
    WorkerLane* busiest = nullptr;
    for (const auto& lane : lanes_) {
      if (!lane->has_started() && !idle->has_started()) continue;
      if (!has_spare_tasks(lane)) continue;
      const std::size_t next = lane->has_started() && lane->current() == nullptr ? 1 : 0;
      if (lane->waiting() <= next) continue;
      if (busiest == nullptr || lane->waiting() > busiest->waiting()) busiest = lane.get();
    }
    if (busiest == nullptr) continue;
    if (!is_held_up(*busiest)) {
      look_soon_ = true;
      continue;
    }
    const std::size_t wanted = std::min((busiest->waiting() + 1) / 2, idle->quota());
    // What was put there just now could not be taken back yet.
    busiest->offer();
    std::vector<Share> moved;
    while (moved.size() < wanted) {
      auto share = busiest->take_newest();
      if (!share) break;
      moved.push_back(*std::move(share));
    }
    for (; !moved.empty(); moved.pop_back()) put(*idle, std::move(moved.back()));
  }
}

void ProcessEngine::wake_workers() {
  feed();
  if (let_go()) {
    ring();
  } else {
    watch_lanes();
  }
}

void ProcessEngine::wake_workers_and_help(std::unique_lock<ForkSafeMutex> lock,
                                          const Signal& signal) {
  feed();
  help_locked(std::move(lock), signal, 0, Deadline());
}

// Whether all is done; the workers are told to end then.
bool ProcessEngine::let_go() {
  if (phase_ == Phase::running || (phase_ == Phase::closed && unsettled_ != 0)) return false;
  for (const auto& lane : lanes_) lane->close();
  return true;
}

void ProcessEngine::recall(const Job& job) {
  for (const auto& lane : lanes_) {
    const auto& tasks = lane->tasks();
    if (std::none_of(tasks.begin(), tasks.end(),
                     [&](const auto& task) { return task.share.job.get() == &job; })) {
      continue;
    }
    // All that it has not begun; what is not the job's goes back in order.
    while (auto share = lane->take_newest()) put_back(*std::move(share));
  }
}

std::deque<Share> ProcessEngine::take_pending() {
  for (const auto& lane : lanes_) {
    while (auto share = lane->take_newest()) put_back(*std::move(share));
  }
  return Engine::take_pending();
}

bool ProcessEngine::has_begun(const Job& job) const {
  const std::lock_guard guard(mutex_);
  return std::any_of(lanes_.begin(), lanes_.end(), [&](const auto& lane) {
    const auto* task = lane->current();
    return task != nullptr && task->share.job.get() == &job;
  });
}

std::size_t ProcessEngine::running_items(bool wanted_only) const {
  return static_cast<std::size_t>(
      std::count_if(lanes_.begin(), lanes_.end(), [&](const auto& lane) {
        const auto* task = lane->current();
        return task != nullptr && task->settled != task->share.count &&
               !(wanted_only && task->share.job->unwanted);
      }));
}

std::size_t ProcessEngine::waiting_items() const {
  std::size_t items = 0;
  for (const auto& lane : lanes_) {
    const auto& tasks = lane->tasks();
    for (std::size_t i = tasks.size() - lane->waiting(); i < tasks.size(); ++i) {
      items += tasks[i].share.count;
    }
  }
  return items;
}

Progress ProcessEngine::progress() const {
  Progress now = Engine::progress();
  const std::lock_guard guard(mutex_);
  for (const auto& lane : lanes_) {
    WorkerProgress one{.name = lane->name, .pid = lane->pid, .done = lane->done};
    if (const auto* task = lane->current()) {
      one.task = task->id;
      lane->header().progress.read(one.fraction, one.text);
    }
    now.workers.push_back(std::move(one));
  }
  return now;
}

std::vector<int> ProcessEngine::pids() const {
  const std::lock_guard guard(mutex_);
  std::vector<int> all;
  for (const auto& lane : lanes_) all.push_back(lane->pid);
  return all;
}

}  // namespace mp::detail
