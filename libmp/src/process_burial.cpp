// The dead of a process pool: what they had finished counts, what they had in
// hand is blamed on them, and all else goes to others.

#include <signal.h>

#include <algorithm>
#include <mutex>

#include "mp/executor_errors.hpp"
#include "mp/logging.hpp"
#include "mp/remote_error.hpp"
#include "process_engine.hpp"
#include "worker_death.hpp"

namespace mp::detail {

namespace {

// How many workers may die in a row before one is ready: of a broken
// initializer, or because somebody kills them as fast as they come.
constexpr int most_failed_starts = 10;

}  // namespace

void ProcessEngine::bury_dead() {
  // Only this thread removes lanes, so what is found here stays.
  std::vector<WorkerLane*> all;
  {
    const std::lock_guard guard(mutex_);
    for (const auto& lane : lanes_) all.push_back(lane.get());
  }
  for (WorkerLane* lane : all) {
    if (!lane->seen_ready && lane->has_started()) {
      lane->seen_ready = true;
      failed_starts_ = 0;
    }
    if (lane->corrupt()) kill_tree(lane->pid);
    if (lane->process.is_alive()) continue;
    std::unique_ptr<WorkerLane> dead;
    {
      const std::lock_guard guard(mutex_);
      const auto found = std::find_if(lanes_.begin(), lanes_.end(),
                                      [&](const auto& one) { return one.get() == lane; });
      dead = std::move(*found);
      lanes_.erase(found);
    }
    bury(std::move(dead));
  }
}

void ProcessEngine::bury(std::unique_ptr<WorkerLane> lane) {
  Batch batch;
  std::vector<Share> shares;
  bool was_running = false;
  {
    const std::lock_guard guard(mutex_);
    // Where all has come to an end since it was taken out, its tasks end too.
    if (ending_) lane->doomed = true;
    // What was committed counts, and what was finished of a chunk.
    lane->drain(batch);
    lane->salvage(batch);
    const auto* task = lane->current();
    was_running = task != nullptr && task->settled != task->share.count;
    shares = lane->forget_tasks();
    requeue_given_back(batch);
    count(batch);
  }
  tell(batch);
  WorkerDeath death = describe_death(lane->process);
  death.out_of_memory = is_out_of_memory(death);
  // What it says itself counts as well: its exit code may have gone to another.
  const bool expected =
      lane->closing() && shares.empty() && (death.exitcode == 0 || lane->has_left());
  log(logging::debug, "worker {}", death_sentence(death));
  if (lane->doomed || expected) {
    requeue(std::move(shares));
  } else if (!lane->has_started()) {
    requeue(std::move(shares));
    note_failed_start(*lane, death);
  } else {
    std::vector<Share> hand;
    const auto is_to_blame = [&](const Share& share) {
      return lane->killed_for == 0 || lane->killed_for == share.job->id;
    };
    if (was_running && !shares.empty() && is_to_blame(shares.front())) {
      hand.push_back(std::move(shares.front()));
      shares.erase(shares.begin());
    }
    requeue(std::move(shares));
    blame(*lane, std::move(hand), death);
  }
}

void ProcessEngine::requeue(std::vector<Share> shares) {
  std::exception_ptr ending;
  {
    const std::lock_guard guard(mutex_);
    ending = ending_;
    for (; !ending && !shares.empty(); shares.pop_back()) put_back(std::move(shares.back()));
  }
  for (const Share& share : shares) fail_share(share, ending);
}

// Each kill explains one death.
bool ProcessEngine::is_out_of_memory(const WorkerDeath& death) {
  if (death.exitcode != -SIGKILL || out_of_memory_kills() <= oom_kills_) return false;
  ++oom_kills_;
  return true;
}

std::exception_ptr ProcessEngine::death_error(const WorkerLane& lane, const Share& share,
                                              WorkerDeath death) {
  const Duration ran(monotonic_now() - lane.header().begun_at.load());
  if (lane.killed_for != 0) {
    return std::make_exception_ptr(TimeoutError(
        fmt::format("task {} ({}) was ended in {} (pid {}) after its time limit of {:.3f} s",
                    share.job->id, share.job->callee.name(), lane.name, lane.pid,
                    std::chrono::duration<double>(*share.job->limit).count())));
  }
  death.task = share.job->id;
  death.item = share.first;
  death.function = share.job->callee.name();
  death.ran = ran;
  return std::make_exception_ptr(WorkerDied(std::move(death)));
}

// The item that the worker was at is what its death costs.
void ProcessEngine::blame(WorkerLane& lane, std::vector<Share> hand, const WorkerDeath& death) {
  using Policy = OnWorkerDeath::Policy;
  const OnWorkerDeath policy = options_.on_death;
  std::exception_ptr broken;
  if (policy.policy == Policy::break_pool && lane.killed_for == 0) {
    broken = std::make_exception_ptr(BrokenProcessPool(
        "A child process terminated abruptly, the process pool is not usable anymore: " +
        death_sentence(death)));
    // Before the task fails: whoever learns of it finds the pool broken.
    const std::lock_guard guard(mutex_);
    break_for(broken);
  }
  for (Share& share : hand) {
    Share one = share;
    one.count = 1;
    one.budget = {};
    share.first += 1;
    share.count -= 1;
    std::vector<Share> again;
    const bool retry =
        policy.policy == Policy::retry && lane.killed_for == 0 && one.deaths < policy.times;
    if (retry) {
      ++one.deaths;
      again.push_back(one);
    }
    if (share.count != 0) again.push_back(std::move(share));
    requeue(std::move(again));
    if (!retry) fail_share(one, death_error(lane, one, death));
  }
  if (broken) end_everything(broken, false);
}

void ProcessEngine::note_failed_start(const WorkerLane& lane, const WorkerDeath& death) {
  if (const auto error = lane.initializer_error()) {
    try {
      try {
        std::rethrow_exception(error);
      } catch (...) {
        std::throw_with_nested(BrokenProcessPool("the initializer of " + lane.name +
                                                 " failed, the process pool is not usable "
                                                 "anymore: " +
                                                 describe_exception(error)));
      }
    } catch (...) {
      break_pool(std::current_exception());
    }
    return;
  }
  if (++failed_starts_ < most_failed_starts) return;
  break_pool(std::make_exception_ptr(BrokenProcessPool(fmt::format(
      "the workers end before they are ready, the process pool is not usable anymore: {} of "
      "them in a row, the last: {}",
      failed_starts_, death_sentence(death)))));
}

void ProcessEngine::break_pool(const std::exception_ptr& reason) {
  {
    const std::lock_guard guard(mutex_);
    break_for(reason);
  }
  end_everything(reason, false);
}

}  // namespace mp::detail
