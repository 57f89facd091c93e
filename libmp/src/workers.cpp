#include "mp/detail/workers.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "interrupt.hpp"
#include "mp/detail/exit_work.hpp"
#include "mp/detail/jobs.hpp"
#include "mp/executor_errors.hpp"
#include "mp/logging.hpp"
#include "mp/process.hpp"
#include "mp/remote_error.hpp"
#include "symbols.hpp"
#include "workers_impl.hpp"

namespace mp::detail {

namespace {

using namespace std::chrono_literals;

// What a message of automatically chosen size is meant to keep a worker busy
// for: long beside what a message costs, short beside what anyone notices.
constexpr Duration chunk_time = 1ms;
// Towards the end chunks shrink so that the workers finish together, but not
// to where the messages cost more than the waiting.
constexpr Duration least_chunk_time = 20us;
// Until an item has been timed, chunks grow by this factor from one item on.
constexpr std::size_t growth = 16;
constexpr std::size_t most_chunk_bytes = 256U << 10U;

// Pools end before what they may use at the program's end. Python's number.
constexpr int exit_priority = 15;

}  // namespace

std::uint64_t end_with_program(std::weak_ptr<Engine> weak) {
  return add_exit_work(exit_priority, [weak = std::move(weak)] {
    const auto self = weak.lock();
    if (!self || !self->is_own()) return;
    if (!self->options().drain_at_exit) {
      self->terminate(std::make_exception_ptr(PoolTerminated("the program is ending")));
    }
    self->close();
    // After Ctrl-C a thread may wait for what never comes.
    self->join(interrupts() == 0 ? Deadline() : Deadline(self->options().grace));
  });
}

std::string Callee::name() const {
  if (code != nullptr) {
    if (std::string known = symbol_name(code); !known.empty()) return known;
  }
  return type == nullptr ? "a function" : type_name(*type);
}

void Job::cancel_items(std::size_t first, std::size_t count) {
  fail(first, count, std::make_exception_ptr(CancelledError()));
}

void Job::measured(std::size_t n, Duration elapsed) {
  const double now = std::max(static_cast<double>(elapsed.count()) / static_cast<double>(n), 1.0);
  item_nanoseconds = item_nanoseconds == 0 ? now : (item_nanoseconds + now) / 2;
}

namespace {

std::atomic<int> workers_share{0};  // 0: not a worker.

}  // namespace

int default_workers() {
  const int share = workers_share;
  return share != 0 ? share : process_cpu_count();
}

void set_default_workers(int count) { workers_share = std::max(1, count); }

void call_guarded(const std::function<void()>& callback) {
  try {
    callback();
  } catch (...) {
    log(logging::error, "exception in a callback: {}",
        describe_exception(std::current_exception()));
  }
}

Engine::Engine(EngineOptions options) : options_(std::move(options)) {}

void Engine::help(const Signal& signal, std::uint32_t seen, const Deadline& deadline,
                  const Job* wanted) {
  if (!is_own()) throw AssertionError("a result belongs to the process that made its pool");
  help_own(signal, seen, deadline, wanted);
}

Engine::Answer Engine::submit(std::shared_ptr<Job> job, const Signal* signal) {
  if (job->count == 0) return Answer::accepted;
  prepare();
  std::unique_lock lock(mutex_);
  if (broken_) return Answer::broken;
  if (phase_ != Phase::running && !(phase_ == Phase::closed && job->of_open_input)) {
    return Answer::closed;
  }
  job->id = ++last_job_;
  const std::size_t count = job->count;
  pending_.push_back(Share{std::move(job), 0, count});
  unsettled_ += count;
  total_ += count;
  if (signal == nullptr) {
    wake_workers();
  } else {
    try {
      wake_workers_and_help(std::move(lock), *signal);
    } catch (...) {
      // It is queued: whoever waits for it does so on the signal.
      log(logging::error, "exception while helping: {}",
          describe_exception(std::current_exception()));
    }
  }
  return Answer::accepted;
}

std::size_t Engine::take_back(Job& job) {
  std::size_t dropped = 0;
  std::deque<Share> removed;  // Destroyed without the mutex.
  const std::lock_guard guard(mutex_);
  job.unwanted = true;
  recall(job);
  for (auto it = pending_.begin(); it != pending_.end();) {
    if (it->job.get() != &job) {
      ++it;
      continue;
    }
    dropped += it->count;
    removed.push_back(std::move(*it));
    it = pending_.erase(it);
  }
  unsettled_ -= dropped;
  total_ -= dropped;
  wake_workers();
  return dropped;
}

void Engine::keep_open(std::weak_ptr<OpenInput> input) {
  const std::lock_guard guard(mutex_);
  if (broken_) std::rethrow_exception(broken_);
  if (phase_ != Phase::running) throw ValueError("Pool not running");
  std::erase_if(inputs_, [](const auto& one) { return one.expired(); });
  if (!input.expired()) inputs_.push_back(std::move(input));
  ++unsettled_;
}

void Engine::input_ended() {
  if (unsettled_.fetch_sub(1) != 1 || phase_ == Phase::running) return;
  const std::lock_guard guard(mutex_);
  wake_workers();
}

bool Engine::join(const Deadline& deadline) {
  if (in_own_thread()) return false;
  std::vector<std::shared_ptr<OpenInput>> open;
  {
    const std::lock_guard guard(mutex_);
    if (phase_ == Phase::closed) {
      for (const auto& one : inputs_) {
        if (auto input = one.lock()) open.push_back(std::move(input));
      }
    }
  }
  for (const auto& input : open) input->read_on(deadline);
  return join_workers(deadline);
}

void Engine::cancel_pending() {
  std::deque<Share> dropped;
  {
    const std::lock_guard guard(mutex_);
    dropped = take_pending();
    for (const Share& share : dropped) {
      unsettled_ -= share.count;
      total_ -= share.count;
    }
    if (unsettled_ == 0 && phase_ != Phase::running) wake_workers();
  }
  for (const Share& share : dropped) share.job->cancel_items(share.first, share.count);
}

void Engine::close() {
  const std::lock_guard guard(mutex_);
  if (phase_ != Phase::running) return;
  phase_ = Phase::closed;
  wake_workers();
}

Engine::Phase Engine::phase() const {
  const std::lock_guard guard(mutex_);
  return phase_;
}

std::exception_ptr Engine::broken() const {
  const std::lock_guard guard(mutex_);
  return broken_;
}

std::size_t Engine::unfinished() const {
  const std::lock_guard guard(mutex_);
  std::size_t items = waiting_items() + running_items(true);
  for (const Share& share : pending_) items += share.count;
  return items;
}

Progress Engine::progress() const {
  const std::lock_guard guard(mutex_);
  Progress now;
  now.total = total_;
  now.done = done_;
  now.failed = failed_;
  now.running = running_items(false);
  const std::size_t seen = now.done + now.failed + now.running;
  now.queued = now.total > seen ? now.total - seen : 0;
  return now;
}

// Guided: as much as was measured to take `chunk_time`, but no more than
// leaves each worker another two chunks of what remains.
Share Engine::take_share() {
  if (pending_.empty()) return {};
  Share& front = pending_.front();
  Job& job = *front.job;
  std::size_t n = job.chunk;
  Duration budget{};
  if (job.chunk == automatic_chunks && front.deaths == 0) {
    const double least = std::max(job.item_nanoseconds, 1.0);
    const auto items_in = [&](Duration time) {
      return static_cast<std::size_t>(static_cast<double>(time.count()) / least) + 1;
    };
    n = job.item_nanoseconds == 0 ? 1 : std::min(items_in(chunk_time), job.last_chunk * growth);
    n = std::min(n, std::max(front.count / (2 * options_.workers), items_in(least_chunk_time)));
    const std::size_t bytes = job.items.view().size() / job.count + 1;
    n = std::clamp<std::size_t>(n, 1, std::max<std::size_t>(most_chunk_bytes / bytes, 1));
    budget = 2 * chunk_time;
    job.last_chunk = std::max(n, job.last_chunk);
  }
  n = std::min(std::max<std::size_t>(n, 1), front.count);
  const bool all = n == front.count;
  Share share = all ? std::move(front) : Share(front);
  share.count = n;
  share.budget = budget;
  if (all) {
    pending_.pop_front();
  } else {
    front.first += n;
    front.count -= n;
  }
  return share;
}

void Engine::settled(std::size_t items, std::size_t undecodable) {
  const bool last = unsettled_.fetch_sub(items) == items;
  // Either this sees that it was closed, or who closed it that all is done.
  const bool ends = last && phase_ != Phase::running;
  if (!ends && undecodable == 0 && !options_.on_progress) return;
  bool tell = false;
  {
    const std::lock_guard guard(mutex_);
    done_ -= undecodable;
    failed_ += undecodable;
    if (ends) wake_workers();
    if (options_.on_progress) {
      progress_untold_ = true;
      tell = !std::exchange(tells_progress_, true);
    }
  }
  while (tell) {
    call_guarded([&] {
      {
        const std::lock_guard guard(mutex_);
        progress_untold_ = false;
      }
      options_.on_progress(progress());
    });
    // What other threads have added meanwhile is told here too: the last
    // count of all must not be lost.
    const std::lock_guard guard(mutex_);
    tell = tells_progress_ = progress_untold_;
  }
}

void Engine::fail_share(const Share& share, const std::exception_ptr& error) {
  {
    const std::lock_guard guard(mutex_);
    failed_ += share.count;
  }
  call_guarded([&] { share.job->fail(share.first, share.count, error); });
  settled(share.count);
}

void Engine::break_for(const std::exception_ptr& reason) {
  if (broken_) return;
  broken_ = reason;
  log(logging::error, "the pool is broken: {}", describe_exception(reason));
}

}  // namespace mp::detail
