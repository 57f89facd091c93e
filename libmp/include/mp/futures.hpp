#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "mp/context.hpp"
#include "mp/detail/completion.hpp"
#include "mp/detail/make_jobs.hpp"
#include "mp/executor_errors.hpp"
#include "mp/on_worker_death.hpp"
#include "mp/progress.hpp"
#include "mp/remote_error.hpp"
#include "mp/results.hpp"

/// Python's concurrent.futures.
namespace mp::futures {

using mp::BrokenExecutor;
using mp::BrokenProcessPool;
using mp::BrokenThreadPool;
using mp::CancelledError;
using mp::InvalidStateError;
using mp::TimeoutError;

template <class T>
class Future;

namespace detail {

using namespace mp::detail;

template <class T>
const std::shared_ptr<FutureState<T>>& state_of(const Future<T>& future);

}  // namespace detail

/// What a call will have given. Copies are handles to the same future, and
/// compare as such. May be used from any thread.
///
/// A pending future is not running until a worker has begun its task, so what
/// cancel() says is exact.
template <class T>
class Future {
 public:
  /// A pending one, for an executor of one's own.
  Future() : state_(std::make_shared<detail::FutureState<T>>()) {}
  explicit Future(std::shared_ptr<detail::FutureState<T>> state) : state_(std::move(state)) {}

  /// Waits; the value, or what the task threw: again, when called again. (A
  /// value that cannot be copied is given once.) Throws CancelledError,
  /// TimeoutError.
  T result(Timeout timeout = {}) const& {
    state_->require(timeout);
    auto state = state_;
    return detail::copy_or_move(state, false);
  }
  T result(Timeout timeout = {}) && {
    state_->require(timeout);
    return detail::copy_or_move(state_, true);
  }
  /// Waits; what the task threw, null if it gave a value. Throws likewise.
  [[nodiscard]] std::exception_ptr exception(Timeout timeout = {}) const {
    return state_->error(timeout);
  }

  /// True if it is cancelled now; false once a worker has begun it.
  bool cancel() { return state_->cancel(); }
  [[nodiscard]] bool cancelled() const { return state_->cancelled(); }
  [[nodiscard]] bool running() const {
    return state_->status() == detail::FutureBase::Status::running;
  }
  [[nodiscard]] bool done() const { return state_->done(); }

  /// Calls `callback` with this future once it is done, in the thread that
  /// finishes or cancels it; at once if it is done. Callbacks run in the order
  /// of adding; what one throws is logged.
  template <std::invocable<Future> Callback>
  void add_done_callback(Callback callback) {
    state_->on_done([self = *this, callback = std::move(callback)]() mutable { callback(self); });
  }

  /// For executors: throw InvalidStateError if it is done or cancelled.
  void set_result(detail::Storable<T> value) { state_->set_value(std::move(value)); }
  void set_result() requires std::is_void_v<T> { state_->set_value({}); }
  void set_exception(std::exception_ptr error) { state_->set_error(std::move(error)); }
  /// For executors, before they run it: false if it was cancelled, which its
  /// waiters are then told. Throws RuntimeError if it is past that.
  bool set_running_or_notify_cancel() { return state_->set_running_or_notify_cancel(); }

  /// `<Future at 0x55… state=finished returned int>`
  [[nodiscard]] std::string repr() const {
    return fmt::format("<Future at {} state={}>", static_cast<const void*>(state_.get()),
                       state_->describe(detail::type_name(typeid(T)).c_str()));
  }
  /// How many handles there are.
  [[nodiscard]] long use_count() const noexcept { return state_.use_count(); }

  friend bool operator==(const Future&, const Future&) = default;
  friend auto operator<=>(const Future& a, const Future& b) { return a.state_ <=> b.state_; }

 private:
  template <class>
  friend class AsCompleted;
  template <class U>
  friend const std::shared_ptr<detail::FutureState<U>>& detail::state_of(const Future<U>& future);
  std::shared_ptr<detail::FutureState<T>> state_;
};

template <class T>
std::ostream& operator<<(std::ostream& out, const Future<T>& future) {
  return out << future.repr();
}

namespace detail {

template <class T>
const std::shared_ptr<FutureState<T>>& state_of(const Future<T>& future) {
  return future.state_;
}

}  // namespace detail

enum class ReturnWhen : unsigned char { FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED };
inline constexpr auto FIRST_COMPLETED = ReturnWhen::FIRST_COMPLETED;
inline constexpr auto FIRST_EXCEPTION = ReturnWhen::FIRST_EXCEPTION;
inline constexpr auto ALL_COMPLETED = ReturnWhen::ALL_COMPLETED;

template <class T>
struct WaitResult {
  std::set<Future<T>> done;
  std::set<Future<T>> not_done;
};

/// Waits until all of `futures` (any range of them, of whatever executors) are
/// done, or the first is, or the first has failed; or the time-out: then
/// what is done by now. A duplicate counts once.
template <class Range>
auto wait(Range&& futures, Timeout timeout = {}, ReturnWhen when = ALL_COMPLETED) {
  using FutureType = std::ranges::range_value_t<Range>;
  const std::set<FutureType> all(std::ranges::begin(futures), std::ranges::end(futures));
  detail::CompletionQueue completion;
  std::size_t failed = 0;
  std::size_t finished = 0;
  const auto count = [&](bool has_failed) {
    ++finished;
    if (has_failed) ++failed;
  };
  for (const auto& future : all) {
    if (const auto done = detail::state_of(future)->watch(completion, 0)) count(*done);
  }
  const detail::Deadline deadline(timeout);
  const auto enough = [&] {
    return finished == all.size() || (when == FIRST_COMPLETED && finished != 0) ||
           (when == FIRST_EXCEPTION && failed != 0);
  };
  while (!enough()) {
    const auto next = completion.next(deadline);
    if (!next) break;
    count(next->failed);
  }
  WaitResult<typename detail::ValueOf<FutureType>::type> result;
  for (const auto& future : all) {
    detail::state_of(future)->unwatch(completion);
    const bool done = detail::state_of(future)->finished_or_notified();
    (done ? result.done : result.not_done).insert(future);
  }
  return result;
}

template <class Range>
auto wait(Range&& futures, ReturnWhen when) {
  return wait(std::forward<Range>(futures), {}, when);
}
template <class T>
auto wait(std::initializer_list<Future<T>> futures, Timeout timeout = {},
          ReturnWhen when = ALL_COMPLETED) {
  return wait(std::vector<Future<T>>(futures), timeout, when);
}
template <class T>
auto wait(std::initializer_list<Future<T>> futures, ReturnWhen when) {
  return wait(std::vector<Future<T>>(futures), {}, when);
}

/// Futures as they are done: those that are first, then in the order of
/// completion, each once. A range to be walked once.
template <class T>
class AsCompleted {
 public:
  AsCompleted(std::vector<Future<T>> futures, Timeout timeout);
  AsCompleted(const AsCompleted&) = delete;
  AsCompleted& operator=(const AsCompleted&) = delete;
  ~AsCompleted() {
    for (const auto& future : futures_) {
      if (future) detail::state_of(*future)->unwatch(completion_);
    }
  }

  /// The next one; empty at the end. Throws TimeoutError `N (of M) futures
  /// unfinished` once the time, counted from the first call, is over. Keeps
  /// nothing of what it has returned.
  std::optional<Future<T>> next();

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = Future<T>;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(AsCompleted* all) : all_(all) { ++*this; }
    Future<T>& operator*() const { return *all_->current_; }
    iterator& operator++() {
      all_->current_.reset();
      all_->current_ = all_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.ended(); }

   private:
    [[nodiscard]] bool ended() const { return !all_->current_; }
    AsCompleted* all_ = nullptr;
  };
  iterator begin() { return iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::vector<std::optional<Future<T>>> futures_;
  std::optional<Future<T>> current_;
  detail::CompletionQueue completion_;
  std::vector<std::size_t> ready_;  // Those done from the start, last first.
  std::size_t left_;
  Timeout timeout_;
  std::optional<detail::Deadline> deadline_;
};

template <class T>
AsCompleted<T>::AsCompleted(std::vector<Future<T>> futures, Timeout timeout) : timeout_(timeout) {
  std::set<Future<T>> seen;
  for (auto& future : futures) {
    if (seen.insert(future).second) futures_.emplace_back(std::move(future));
  }
  left_ = futures_.size();
  for (std::size_t i = futures_.size(); i-- > 0;) {
    if (detail::state_of(*futures_[i])->watch(completion_, i)) ready_.push_back(i);
  }
}

template <class T>
std::optional<Future<T>> AsCompleted<T>::next() {
  if (left_ == 0) return std::nullopt;
  if (!deadline_) deadline_.emplace(timeout_);
  std::size_t index = 0;
  if (!ready_.empty()) {
    index = ready_.back();
    ready_.pop_back();
  } else if (const auto done = completion_.next(*deadline_)) {
    index = done->index;
  } else {
    throw TimeoutError(fmt::format("{} (of {}) futures unfinished", left_, futures_.size()));
  }
  --left_;
  return std::exchange(futures_[index], std::nullopt);
}

template <class Range>
auto as_completed(Range&& futures, Timeout timeout = {}) {
  using FutureType = std::ranges::range_value_t<Range>;
  using T = typename detail::ValueOf<FutureType>::type;
  // Given away, the futures go one by one as they are done.
  if constexpr (std::is_same_v<Range, std::vector<FutureType>>) {
    return AsCompleted<T>(std::move(futures), timeout);
  } else {
    return AsCompleted<T>(
        std::vector<FutureType>(std::ranges::begin(futures), std::ranges::end(futures)), timeout);
  }
}

template <class T>
auto as_completed(std::initializer_list<Future<T>> futures, Timeout timeout = {}) {
  return as_completed(std::vector<Future<T>>(futures), timeout);
}

/// The keyword arguments of Python's `ProcessPoolExecutor()`, and what libmp adds.
struct ProcessPoolOptions {
  std::optional<int> max_workers = {};           ///< Empty: as many as a Pool has.
  std::optional<StartMethod> start_method = {};  ///< Python: mp_context.
  std::optional<int> max_tasks_per_child = {};
  /// Python's executor is of no more use once a worker has died; with `fail`
  /// or `retry` it goes on like a Pool.
  OnWorkerDeath on_worker_death = on_worker_death::break_pool;
  std::uint64_t max_rss = 0;  ///< This and the following: see PoolOptions.
  Timeout timeout = {};
  Duration grace = std::chrono::seconds(1);
  std::function<void(const Progress&)> on_progress = {};
};

struct ThreadPoolOptions {
  std::optional<int> max_workers = {};  ///< Empty: process_cpu_count() + 4, at most 32.
  std::string thread_name_prefix = {};  ///< Empty: "ThreadPoolExecutor-N".
};

/// For one call.
struct SubmitOptions {
  /// After so long its worker and all that one's descendants are killed, the
  /// future fails with TimeoutError, and the worker is replaced. For processes
  /// only, else ValueError.
  Timeout timeout = {};
};

/// The keyword arguments of Python's `Executor.map()`.
struct ExecutorMapOptions {
  Timeout timeout = {};               ///< For all results, from the call of map() on.
  std::optional<int> chunksize = {};  ///< Empty: by measured time.
  /// At most so many items are submitted and not taken; the input is then
  /// read as the results are, and may be endless. Empty: all at once.
  std::optional<int> buffersize = {};
};

namespace detail {

/// What both executors are, but for their constructors. May be used from any
/// thread of the process that made it; in a forked child every call throws
/// AssertionError. The destructor is shutdown().
template <bool Processes>
class BasicExecutor {
 public:
  BasicExecutor(const BasicExecutor&) = delete;
  BasicExecutor& operator=(const BasicExecutor&) = delete;

  /// f(args...) in a worker. What cannot be pickled fails the future. Throws
  /// RuntimeError `cannot schedule new futures after shutdown`, and the
  /// BrokenExecutor that says why there is no worker any more.
  template <class F, class... Args>
  Future<CallResult<F, Args...>> submit(F&& f, Args&&... args) {
    return submit(SubmitOptions(), std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
  Future<CallResult<F, Args...>> submit(SubmitOptions options, F&& f, Args&&... args) {
    auto job = std::make_shared<CallJob<CallResult<F, Args...>>>();
    job->limit = limit(options.timeout);
    fill_call<Processes>(*job, std::forward<F>(f), std::forward<Args>(args)...);
    hand_in(job, job->done());
    return Future<CallResult<F, Args...>>(std::move(job));
  }

  /// f(a, b, …) for the elements of the ranges side by side, in order. All is
  /// submitted now; a result's error is thrown at its place, and cancels
  /// what has not begun, as does dropping the results. Throws as submit() does,
  /// and PicklingError for what cannot be pickled.
  template <class F, class... Ranges>
  auto map(F&& f, Ranges&&... ranges) {
    return map(ExecutorMapOptions(), std::forward<F>(f), std::forward<Ranges>(ranges)...);
  }
  /// `executor.map({.chunksize = 3}, gcd, first, second)`. Throws ValueError
  /// `chunksize must be >= 1.`, `buffersize must be None or > 0`.
  template <class F, class... Ranges>
  auto map(ExecutorMapOptions options, F&& f, Ranges&&... ranges) {
    using Item = std::tuple<ItemOf<Ranges>...>;
    using R = ResultOf<F, Item, true>;
    const StreamRules rules = map_rules(options);
    const Timeout timeout = options.timeout;
    return Results<R>(
        make_stream<Processes, true, R, Item>(engine_, rules, !options.buffersize,
                                              std::forward<F>(f), std::forward<Ranges>(ranges)...),
        timeout);
  }

  /// No more tasks; waits until all are done and the workers have ended,
  /// unless `wait` is false: then the work goes on, and the program's end
  /// waits for it. `cancel_futures` cancels what has not begun. May be called
  /// again; does not wait in one of its own threads.
  void shutdown(bool wait = true, bool cancel_futures = false);

  [[nodiscard]] Progress progress() const { return own().progress(); }

 protected:
  explicit BasicExecutor(std::shared_ptr<Engine> engine, Timeout timeout = {})
      : engine_(std::move(engine)), timeout_(timeout) {}
  ~BasicExecutor() { drop(); }
  Engine& own() const;

  std::shared_ptr<Engine> engine_;
  Timeout timeout_;

 private:
  void drop() noexcept;
  void hand_in(std::shared_ptr<Job> job, bool is_done);
  Timeout limit(Timeout timeout) const;
  StreamRules map_rules(const ExecutorMapOptions& options) const;
};

}  // namespace detail

/// Worker processes behind futures. Python: ProcessPoolExecutor.
///
/// What crosses is pickled: see Pool. Under fork all workers are started by
/// the first submit; else one at a time, while none is idle.
class ProcessPoolExecutor : public detail::BasicExecutor<true> {
 public:
  /// Throws ValueError `max_workers must be greater than 0`,
  /// `max_tasks_per_child must be >= 1`. Nothing is started yet.
  explicit ProcessPoolExecutor(ProcessPoolOptions options = {});
  explicit ProcessPoolExecutor(int max_workers)
      : ProcessPoolExecutor(ProcessPoolOptions{.max_workers = max_workers}) {}
  /// Each worker first calls initializer(initargs...); if that throws, the
  /// executor is broken.
  template <class Initializer, class... InitArgs>
  ProcessPoolExecutor(ProcessPoolOptions options, Initializer&& initializer, InitArgs&&... initargs)
      : ProcessPoolExecutor(std::move(options),
                            detail::make_task(std::forward<Initializer>(initializer),
                                              std::forward<InitArgs>(initargs)...)) {}
  template <class Initializer, class... InitArgs>
  ProcessPoolExecutor(int max_workers, Initializer&& initializer, InitArgs&&... initargs)
      : ProcessPoolExecutor(ProcessPoolOptions{.max_workers = max_workers},
                            std::forward<Initializer>(initializer),
                            std::forward<InitArgs>(initargs)...) {}

  /// shutdown(wait = false, cancel_futures = true), then SIGTERM or SIGKILL
  /// for each worker; what they were at fails with BrokenProcessPool.
  void terminate_workers();
  void kill_workers();
  /// The workers' process ids.
  [[nodiscard]] std::vector<int> pids() const { return own().pids(); }

 private:
  ProcessPoolExecutor(ProcessPoolOptions options, std::unique_ptr<detail::Task> initializer);
};

/// Threads behind futures. Python: ThreadPoolExecutor. Threads are started
/// while none is idle; any callable will do. A task that waits for the result
/// of another of the same executor runs that in its own thread if no other has
/// begun it.
class ThreadPoolExecutor : public detail::BasicExecutor<false> {
 public:
  /// Throws ValueError `max_workers must be greater than 0`.
  explicit ThreadPoolExecutor(ThreadPoolOptions options = {})
      : ThreadPoolExecutor(std::move(options), std::function<void()>()) {}
  explicit ThreadPoolExecutor(int max_workers)
      : ThreadPoolExecutor(ThreadPoolOptions{.max_workers = max_workers}) {}
  /// If the initializer throws, the executor is broken.
  template <class Initializer, class... InitArgs>
  ThreadPoolExecutor(ThreadPoolOptions options, Initializer&& initializer, InitArgs&&... initargs)
      : ThreadPoolExecutor(
            std::move(options),
            std::function<void()>([function = std::decay_t<Initializer>(initializer),
                                   ... kept = mp::detail::Stored<InitArgs>(initargs)]() mutable {
              std::invoke(function, kept...);
            })) {}
  template <class Initializer, class... InitArgs>
  ThreadPoolExecutor(int max_workers, Initializer&& initializer, InitArgs&&... initargs)
      : ThreadPoolExecutor(ThreadPoolOptions{.max_workers = max_workers},
                           std::forward<Initializer>(initializer),
                           std::forward<InitArgs>(initargs)...) {}

 private:
  ThreadPoolExecutor(ThreadPoolOptions options, std::function<void()> initializer);
};

}  // namespace mp::futures

template <class T>
struct fmt::formatter<mp::futures::Future<T>> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const mp::futures::Future<T>& future, Context& context) const {
    return fmt::formatter<std::string>::format(future.repr(), context);
  }
};
