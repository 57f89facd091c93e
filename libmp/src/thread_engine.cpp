// Threads of this process as workers: what is behind ThreadPool and
// ThreadPoolExecutor.

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

#include "interrupt.hpp"
#include "mp/detail/exit_work.hpp"
#include "mp/detail/jobs.hpp"
#include "mp/executor_errors.hpp"
#include "mp/logging.hpp"
#include "mp/remote_error.hpp"
#include "task_progress.hpp"
#include "workers_impl.hpp"

namespace mp::detail {

namespace {

class ThreadEngine final : public Engine {
 public:
  explicit ThreadEngine(EngineOptions options) : Engine(std::move(options)) {}
  ThreadEngine(const ThreadEngine&) = delete;
  ThreadEngine& operator=(const ThreadEngine&) = delete;

  /// Starts the threads that are not started on demand.
  void open();

  [[nodiscard]] bool has_begun(const Job& job) const override;
  void terminate(const std::exception_ptr& error, bool kill) override;
  void dismiss() noexcept override;
  void release() noexcept override;
  ~ThreadEngine() override { remove_exit_work(exit_work_); }
  [[nodiscard]] Progress progress() const override;

 protected:
  bool join_workers(const Deadline& deadline) override;
  [[nodiscard]] bool in_own_thread() override;
  void help_own(const Signal& signal, std::uint32_t seen, const Deadline& deadline,
                const Job* wanted) override;
  void prepare() override;
  void wake_workers() override { work_.notify_all(); }
  [[nodiscard]] std::size_t running_items(bool wanted_only) const override;

 private:
  // A thread, and what it is at; the latter under the engine's mutex.
  struct Worker {
    std::string name;
    std::thread thread;
    std::vector<const Share*> hand;  // More than one where a task waits for others.
    std::size_t done = 0;
    TaskProgress progress;
    bool ended = false;
  };

  void start_worker();
  void run_worker(Worker& self);
  bool initialize(Worker& self);
  void run_next(Worker& self, std::unique_lock<ForkSafeMutex>& lock);
  void run_share(Worker& self, const Share& share);
  bool bring_forward(const Job* wanted);
  [[nodiscard]] Worker* worker_of(std::thread::id id);

  std::list<Worker> workers_;  // Never shrinks: a worker has its own element.
  std::size_t living_ = 0;
  std::size_t started_ = 0;
  std::condition_variable_any work_;
  std::condition_variable_any ended_;
  std::uint64_t exit_work_ = 0;
};

void ThreadEngine::open() {
  exit_work_ = end_with_program(weak_from_this());
  if (options_.on_demand) return;
  for (std::size_t i = 0; i < options_.workers; ++i) start_worker();
}

void ThreadEngine::prepare() {
  {
    const std::lock_guard guard(mutex_);
    if (phase_ != Phase::running || broken_) return;
    // One that has given its result is as good as idle, and so is one that has just been started.
    const auto idle = std::count_if(workers_.begin(), workers_.end(), [](const Worker& worker) {
      return !worker.ended && (worker.hand.empty() || worker.hand.front()->job->finished());
    });
    if (started_ == options_.workers || static_cast<std::size_t>(idle) > pending_.size()) return;
  }
  start_worker();
}

void ThreadEngine::start_worker() {
  auto self = std::static_pointer_cast<ThreadEngine>(shared_from_this());
  std::unique_lock lock(mutex_);
  if (started_ == options_.workers || phase_ != Phase::running) return;
  Worker& worker = workers_.emplace_back();
  worker.name = options_.name + '_' + std::to_string(started_);
  try {
    worker.thread = std::thread([self, &worker] { self->run_worker(worker); });
  } catch (...) {
    workers_.pop_back();
    if (living_ == 0) throw;
    return;  // Those that there are will do.
  }
  ++started_;
  ++living_;
}

bool ThreadEngine::initialize(Worker& self) {
  // The kernel keeps 15 bytes of a thread's name.
  ::pthread_setname_np(::pthread_self(), self.name.substr(0, 15).c_str());
  if (!options_.thread_initializer) return true;
  try {
    // Each thread calls a copy: what it binds is not shared.
    auto initializer = options_.thread_initializer;
    initializer();
    return true;
  } catch (...) {
    log(logging::critical, "Exception in initializer: {}",
        describe_exception(std::current_exception()));
  }
  std::deque<Share> lost;
  const auto error = std::make_exception_ptr(
      BrokenThreadPool("A thread initializer failed, the thread pool is not usable anymore"));
  {
    const std::lock_guard guard(mutex_);
    break_for(error);
    lost = take_pending();
    work_.notify_all();
  }
  for (const Share& share : lost) fail_share(share, error);
  return false;
}

void ThreadEngine::run_worker(Worker& self) {
  const CurrentTaskProgress current(&self.progress);
  bool usable = initialize(self);
  std::unique_lock lock(mutex_);
  while (usable) {
    work_.wait(lock, [&] {
      return !pending_.empty() || broken_ || phase_ == Phase::terminated ||
             (phase_ == Phase::closed && unsettled_ == 0);
    });
    if (pending_.empty()) break;
    run_next(self, lock);
  }
  self.ended = true;
  --living_;
  ended_.notify_all();
}

// The next share, whatever the thread is at already: see help_own().
void ThreadEngine::run_next(Worker& self, std::unique_lock<ForkSafeMutex>& lock) {
  Share share = take_share();
  self.hand.push_back(&share);
  lock.unlock();
  run_share(self, share);
  share = {};
  lock.lock();
}

void ThreadEngine::run_share(Worker& self, const Share& share) {
  self.progress.clear();
  const auto begun = std::chrono::steady_clock::now();
  std::size_t failed = share.count;
  call_guarded([&] { failed = share.job->run(share.first, share.count); });
  const Duration elapsed = std::chrono::steady_clock::now() - begun;
  {
    const std::lock_guard guard(mutex_);
    share.job->measured(share.count, elapsed);
    self.hand.pop_back();
    self.done += share.count;
    done_ += share.count - failed;
    failed_ += failed;
  }
  settled(share.count);
}

// Puts what is pending of it first; of any job if it is null. False if there
// is nothing.
bool ThreadEngine::bring_forward(const Job* wanted) {
  const auto found = std::find_if(pending_.begin(), pending_.end(), [&](const Share& share) {
    return wanted == nullptr || share.job.get() == wanted;
  });
  if (found == pending_.end()) return false;
  std::rotate(pending_.begin(), found, found + 1);
  return true;
}

// A task that waits for another of its own pool would wait for a thread that is
// free, perhaps its own: it runs the other itself.
void ThreadEngine::help_own(const Signal& signal, std::uint32_t seen, const Deadline& deadline,
                            const Job* wanted) {
  {
    std::unique_lock lock(mutex_);
    if (Worker* self = worker_of(std::this_thread::get_id())) {
      while (signal.value() == seen && !deadline.passed() && bring_forward(wanted)) {
        run_next(*self, lock);
      }
    }
  }
  signal.wait(seen, deadline);
}

bool ThreadEngine::has_begun(const Job& job) const {
  const std::lock_guard guard(mutex_);
  return std::any_of(workers_.begin(), workers_.end(), [&](const Worker& worker) {
    return std::any_of(worker.hand.begin(), worker.hand.end(),
                       [&](const Share* share) { return share->job.get() == &job; });
  });
}

std::size_t ThreadEngine::running_items(bool wanted_only) const {
  std::size_t running = 0;
  for (const Worker& worker : workers_) {
    for (const Share* share : worker.hand) {
      if (wanted_only && share->job->unwanted) continue;
      if (!share->job->finished()) running += share->count;
    }
  }
  return running;
}

Progress ThreadEngine::progress() const {
  Progress now = Engine::progress();
  const std::lock_guard guard(mutex_);
  for (const Worker& worker : workers_) {
    if (worker.ended) continue;
    WorkerProgress one{.name = worker.name, .done = worker.done};
    if (!worker.hand.empty()) {
      one.task = worker.hand.back()->job->id;
      worker.progress.read(one.fraction, one.text);
    }
    now.workers.push_back(std::move(one));
  }
  return now;
}

void ThreadEngine::terminate(const std::exception_ptr& error, bool /*kill*/) {
  std::deque<Share> lost;
  {
    const std::lock_guard guard(mutex_);
    phase_ = Phase::terminated;
    lost = take_pending();
    work_.notify_all();
  }
  for (const Share& share : lost) fail_share(share, error);
}

ThreadEngine::Worker* ThreadEngine::worker_of(std::thread::id id) {
  const auto found = std::find_if(workers_.begin(), workers_.end(), [&](const Worker& worker) {
    return worker.thread.get_id() == id;
  });
  return found == workers_.end() ? nullptr : &*found;
}

bool ThreadEngine::in_own_thread() {
  const std::lock_guard guard(mutex_);
  return worker_of(std::this_thread::get_id()) != nullptr;
}

bool ThreadEngine::join_workers(const Deadline& deadline) {
  std::unique_lock lock(mutex_);
  while (living_ != 0) {
    const Timeout left = deadline.remaining();
    if (!left) {
      ended_.wait(lock);
    } else if (ended_.wait_for(lock, *left) == std::cv_status::timeout) {
      return living_ == 0;
    }
  }
  return true;
}

// A thread that dismisses its own pool cannot wait for itself: it is let go,
// and ends when its task has returned.
void ThreadEngine::dismiss() noexcept {
  const bool all_ended = join(Deadline());
  std::unique_lock lock(mutex_);
  for (Worker& worker : workers_) {
    if (!worker.thread.joinable()) continue;
    if (all_ended) {
      // Past its last use of the mutex or about to be: it needs it no more.
      std::thread thread = std::move(worker.thread);
      lock.unlock();
      thread.join();
      lock.lock();
    } else {
      worker.thread.detach();
    }
  }
}

void ThreadEngine::release() noexcept {
  const std::lock_guard guard(mutex_);
  for (Worker& worker : workers_) {
    if (worker.thread.joinable()) worker.thread.detach();
  }
}

}  // namespace

std::shared_ptr<Engine> Engine::of_threads(EngineOptions options) {
  auto engine = std::make_shared<ThreadEngine>(std::move(options));
  engine->open();
  return engine;
}

}  // namespace mp::detail
