#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/context.hpp"
#include "mp/detail/make_jobs.hpp"
#include "mp/executor_errors.hpp"
#include "mp/on_worker_death.hpp"
#include "mp/pool_options.hpp"
#include "mp/progress.hpp"
#include "mp/remote_error.hpp"
#include "mp/results.hpp"

namespace mp {

/// A result that is on its way. Copies are handles to the same one.
/// May be used from any thread.
template <class T>
class AsyncResult {
 public:
  explicit AsyncResult(std::shared_ptr<detail::FutureState<T>> state,
                       std::function<Progress()> progress = {})
      : state_(std::move(state)), progress_(std::move(progress)) {}

  /// Waits, and returns the value or throws what the task threw; again, when
  /// called again, but for a value that cannot be copied: the first call moves
  /// it out. Throws TimeoutError if it is not ready in time.
  T get(Timeout timeout = {}) const& {
    state_->require(timeout);
    auto state = state_;
    return detail::copy_or_move(state, false);
  }
  T get(Timeout timeout = {}) && {
    state_->require(timeout);
    progress_ = nullptr;  // It holds the state as well.
    return detail::copy_or_move(state_, true);
  }
  /// Whether it is ready, after waiting for at most `timeout`.
  bool wait(Timeout timeout = {}) const { return state_->wait(detail::Deadline(timeout)); }
  [[nodiscard]] bool ready() const { return state_->done(); }
  /// Throws ValueError while it is not ready.
  [[nodiscard]] bool successful() const {
    if (!ready()) throw ValueError("the result is not ready");
    return state_->error_if_done() == nullptr;
  }
  /// How far a map has come; for a single call, done or not.
  [[nodiscard]] Progress progress() const {
    if (progress_) return progress_();
    const bool failed = ready() && state_->error_if_done() != nullptr;
    return {.total = 1,
            .done = ready() && !failed,
            .failed = failed,
            .running = state_->status() == detail::FutureBase::Status::running,
            .queued = state_->status() == detail::FutureBase::Status::pending};
  }
  /// `<AsyncResult at 0x55… state=finished returned int>`
  [[nodiscard]] std::string repr() const {
    return fmt::format("<AsyncResult at {} state={}>", static_cast<const void*>(state_.get()),
                       state_->describe(detail::type_name(typeid(T)).c_str()));
  }

 private:
  std::shared_ptr<detail::FutureState<T>> state_;
  std::function<Progress()> progress_;
};

template <class T>
std::ostream& operator<<(std::ostream& out, const AsyncResult<T>& result) {
  return out << result.repr();
}

namespace detail {

/// What Pool and ThreadPool are, but for their constructors. `f` and its
/// arguments cross to a worker process: functions, lambdas without captures,
/// mp::partial; a ThreadPool takes any callable.
///
/// May be used from any thread of the process that made it; in a forked child
/// every call throws AssertionError. Calls that hand out work throw ValueError
/// `Pool not running` after close() and terminate(), and BrokenProcessPool
/// (a ThreadPool: BrokenThreadPool) when no worker can be had any more. Those
/// that take a chunk size: ValueError `Chunksize must be 1+`. Arguments that cannot
/// be pickled, as they hold descriptors, say, are the result's error (PicklingError),
/// not the call's.
template <bool Processes>
class BasicPool {
 public:
  BasicPool(const BasicPool&) = delete;
  BasicPool& operator=(const BasicPool&) = delete;

  /// f(args...) in a worker; waits for it.
  template <class F, class... Args>
  CallResult<F, Args...> apply(F&& f, Args&&... args) {
    if constexpr (Processes) {
      WaitedCall<CallResult<F, Args...>> job;
      job.limit = limit({});
      fill_call<Processes>(job, std::forward<F>(f), std::forward<Args>(args)...);
      submit(job.borrowed(), job.finished(), &job.signal());
      return job.get();
    } else {
      return apply_async(std::forward<F>(f), std::forward<Args>(args)...).get();
    }
  }
  template <class F, class... Args>
  AsyncResult<CallResult<F, Args...>> apply_async(F&& f, Args&&... args) {
    return apply_async(ApplyOptions<CallResult<F, Args...>>(), std::forward<F>(f),
                       std::forward<Args>(args)...);
  }
  /// `pool.apply_async({.callback = print}, square, 7)`
  template <class F, class... Args>
  AsyncResult<CallResult<F, Args...>> apply_async(ApplyOptions<CallResult<F, Args...>> options,
                                                  F&& f, Args&&... args) {
    auto job = std::make_shared<CallJob<CallResult<F, Args...>>>();
    job->limit = limit(options.timeout);
    set_callbacks(*job, options);
    fill_call<Processes>(*job, std::forward<F>(f), std::forward<Args>(args)...);
    submit(job, job->done());
    return AsyncResult<CallResult<F, Args...>>(std::move(job));
  }

  /// f of each item, in the order of the items. All are run even if one
  /// fails; then the first failure, by position, is thrown. If one cannot be
  /// pickled, that is the failure, and none is run.
  template <class F, class Range>
  auto map(F&& f, Range&& items, std::optional<int> chunksize = {}) {
    return map_async(std::forward<F>(f), std::forward<Range>(items), chunksize).get();
  }
  template <class F, class T>
  auto map(F&& f, std::initializer_list<T> items, std::optional<int> chunksize = {}) {
    return map_async(std::forward<F>(f), items, chunksize).get();
  }
  template <class F, class Range>
  auto map_async(F&& f, Range&& items, std::optional<int> chunksize = {}) {
    return start_map<false>({.chunksize = chunksize}, std::forward<F>(f), items);
  }
  template <class F, class T>
  auto map_async(F&& f, std::initializer_list<T> items, std::optional<int> chunksize = {}) {
    return start_map<false>({.chunksize = chunksize}, std::forward<F>(f), items);
  }
  /// `pool.map_async({.chunksize = 8, .callback = print}, square, numbers)`
  template <class F, class Range>
  auto map_async(MapOptions<MapValue<ResultOf<F, ItemOf<Range>, false>>> options, F&& f,
                 Range&& items) {
    return start_map<false>(std::move(options), std::forward<F>(f), items);
  }
  template <class F, class T>
  auto map_async(MapOptions<MapValue<ResultOf<F, ItemOf<std::vector<T>>, false>>> options, F&& f,
                 std::initializer_list<T> items) {
    return start_map<false>(std::move(options), std::forward<F>(f), items);
  }
  /// The same for items that are tuples of arguments.
  template <class F, class Range>
  auto starmap(F&& f, Range&& items, std::optional<int> chunksize = {}) {
    return starmap_async(std::forward<F>(f), std::forward<Range>(items), chunksize).get();
  }
  template <class F, class T>
  auto starmap(F&& f, std::initializer_list<T> items, std::optional<int> chunksize = {}) {
    return starmap_async(std::forward<F>(f), items, chunksize).get();
  }
  template <class F, class Range>
  auto starmap_async(F&& f, Range&& items, std::optional<int> chunksize = {}) {
    return start_map<true>({.chunksize = chunksize}, std::forward<F>(f), items);
  }
  template <class F, class T>
  auto starmap_async(F&& f, std::initializer_list<T> items, std::optional<int> chunksize = {}) {
    return start_map<true>({.chunksize = chunksize}, std::forward<F>(f), items);
  }
  template <class F, class Range>
  auto starmap_async(MapOptions<MapValue<ResultOf<F, ItemOf<Range>, true>>> options, F&& f,
                     Range&& items) {
    return start_map<true>(std::move(options), std::forward<F>(f), items);
  }

  /// f of each item, one by one, in order; the input is read as the results
  /// are, a bounded number of items ahead and in the reader's thread, so it
  /// may be endless. It is read on after close(); join() reads all the rest of it,
  /// in its own thread. What cannot be pickled ends the results, as what the input
  /// throws does. Throws ValueError `buffersize must be None or > 0`, too.
  template <class F, class Range>
  auto imap(F&& f, Range&& items, int chunksize = 1) {
    return start_imap(true, {.chunksize = chunksize}, std::forward<F>(f),
                      std::forward<Range>(items));
  }
  template <class F, class T>
  auto imap(F&& f, std::initializer_list<T> items, int chunksize = 1) {
    return imap(std::forward<F>(f), std::vector<T>(items), chunksize);
  }
  template <class F, class Range>
  auto imap(ImapOptions options, F&& f, Range&& items) {
    return start_imap(true, options, std::forward<F>(f), std::forward<Range>(items));
  }
  /// The same, in the order in which they are done.
  template <class F, class Range>
  auto imap_unordered(F&& f, Range&& items, int chunksize = 1) {
    return start_imap(false, {.chunksize = chunksize}, std::forward<F>(f),
                      std::forward<Range>(items));
  }
  template <class F, class T>
  auto imap_unordered(F&& f, std::initializer_list<T> items, int chunksize = 1) {
    return imap_unordered(std::forward<F>(f), std::vector<T>(items), chunksize);
  }
  template <class F, class Range>
  auto imap_unordered(ImapOptions options, F&& f, Range&& items) {
    return start_imap(false, options, std::forward<F>(f), std::forward<Range>(items));
  }

  /// No more tasks, but for items of an imap that is under way; the workers end
  /// when all are done.
  void close() { own().close(); }
  /// Ends now: queued tasks are dropped, workers get SIGTERM and after the
  /// grace SIGKILL; results that are not ready become PoolTerminated. Does
  /// not wait. Threads finish what they are at.
  void terminate() {
    own().terminate(std::make_exception_ptr(
        PoolTerminated("the pool was terminated before the result was there")));
  }
  /// Waits until the workers have ended: true. Called in one of the pool's
  /// own threads, or at the deadline: false. Throws ValueError `Pool is still
  /// running` before close() or terminate(), AssertionError in the input of an
  /// imap of this pool.
  bool join(Timeout timeout = {}) {
    if (own().phase() == Engine::Phase::running) throw ValueError("Pool is still running");
    return engine_->join(Deadline(timeout));
  }

  /// How far all its tasks have come, and what each worker is at.
  [[nodiscard]] Progress progress() const { return own().progress(); }
  [[nodiscard]] int processes() const { return static_cast<int>(engine_->size()); }
  /// `<multiprocessing.pool.Pool state=RUN pool_size=4>`
  [[nodiscard]] std::string repr() const;

 protected:
  explicit BasicPool(std::shared_ptr<Engine> engine, Timeout timeout = {})
      : engine_(std::move(engine)), timeout_(timeout) {}
  BasicPool(BasicPool&&) noexcept = default;
  ~BasicPool() { drop(); }
  BasicPool& operator=(BasicPool&&) = delete;

  /// terminate() and join(); a warning if that drops unfinished tasks.
  void drop() noexcept;
  Engine& own() const;

  std::shared_ptr<Engine> engine_;
  Timeout timeout_;

 private:
  Timeout limit(Timeout timeout) const;
  void submit(std::shared_ptr<Job> job, bool is_done, const Signal* signal = nullptr);

  template <class T, class Options>
  static void set_callbacks(T& job, Options& options) {
    if (options.callback) {
      job.callbacks.done = [callback = std::move(options.callback)](const auto& value) {
        if constexpr (std::is_invocable_v<decltype(callback)>) {
          (void)value;
          callback();
        } else {
          callback(value);
        }
      };
    }
    job.callbacks.failed = std::move(options.error_callback);
  }

  template <bool Star, class F, class Range>
  auto start_map(MapOptions<MapValue<ResultOf<F, ItemOf<Range>, Star>>> options, F&& f,
                 Range& items) {
    using R = ResultOf<F, ItemOf<Range>, Star>;
    if (options.chunksize && *options.chunksize < 1) {
      throw ValueError(fmt::format("Chunksize must be 1+, not {}", *options.chunksize));
    }
    auto job = std::make_shared<MapJob<R>>();
    job->chunk = static_cast<std::size_t>(options.chunksize.value_or(automatic_chunks));
    job->limit = limit(options.timeout);
    set_callbacks(*job, options);
    fill_map<Processes, Star>(*job, std::forward<F>(f), items);
    submit(job, job->done());
    return AsyncResult<MapValue<R>>(job, [job] { return job->progress(); });
  }

  template <class F, class Range>
  auto start_imap(bool ordered, ImapOptions options, F&& f, Range&& items) {
    using Item = ItemOf<Range>;
    using R = ResultOf<F, Item, false>;
    return Results<R>(make_stream<Processes, false, R, Item>(
                          own().shared_from_this(), imap_rules(ordered, options), false,
                          std::forward<F>(f), std::forward<Range>(items)),
                      {});
  }
  StreamRules imap_rules(bool ordered, const ImapOptions& options) const;
};

}  // namespace detail

/// Worker processes that run functions. Python: multiprocessing.Pool.
///
///     mp::Pool pool(4);
///     std::vector<int> squares = pool.map(square, numbers);
///
/// A worker that dies fails the one task it was at, with WorkerDied, within a
/// second, and is replaced. One that cannot start, as its initializer throws
/// or dies, breaks the pool. Workers end with the process that made the pool,
/// whatever ends it; they may have children and pools of their own.
///
/// The destructor is terminate() and join(), as Python's `with`; never a hang.
/// While it has workers Ctrl-C, unless the program handles SIGINT itself, ends
/// the program in order with exit code 130; a second one does not wait for
/// running tasks.
class Pool : public detail::BasicPool<true> {
 public:
  /// Throws ValueError `Number of processes must be at least 1`,
  /// `maxtasksperchild must be a positive int or None`; what starting throws.
  explicit Pool(PoolOptions options = {});
  explicit Pool(int processes) : Pool(PoolOptions{.processes = processes}) {}
  /// Each worker first calls initializer(initargs...).
  template <class Initializer, class... InitArgs>
  Pool(PoolOptions options, Initializer&& initializer, InitArgs&&... initargs)
      : Pool(std::move(options), detail::make_task(std::forward<Initializer>(initializer),
                                                   std::forward<InitArgs>(initargs)...)) {}
  template <class Initializer, class... InitArgs>
  Pool(int processes, Initializer&& initializer, InitArgs&&... initargs)
      : Pool(PoolOptions{.processes = processes}, std::forward<Initializer>(initializer),
             std::forward<InitArgs>(initargs)...) {}

  /// The workers' process ids.
  [[nodiscard]] std::vector<int> pids() const { return own().pids(); }

 private:
  Pool(PoolOptions options, std::unique_ptr<detail::Task> initializer);
};

/// The same on threads: nothing is pickled, any callable will do, nothing
/// outlives a crash, and a running task cannot be stopped. A task that waits
/// for another of the same pool, by its get() or wait(), runs that in its own
/// thread if no other has begun it; a time-out may then be exceeded.
/// Python: multiprocessing.pool.ThreadPool.
class ThreadPool : public detail::BasicPool<false> {
 public:
  /// Empty: as many as a Pool has.
  explicit ThreadPool(std::optional<int> processes = {}) : ThreadPool(processes, [] {}) {}
  /// The initializer is called once in each thread.
  template <class Initializer, class... InitArgs>
  ThreadPool(std::optional<int> processes, Initializer&& initializer, InitArgs&&... initargs)
      : ThreadPool(processes,
                   std::function<void()>([function = std::decay_t<Initializer>(initializer),
                                          ... kept = detail::Stored<InitArgs>(initargs)]() mutable {
                     std::invoke(function, kept...);
                   })) {}

 private:
  ThreadPool(std::optional<int> processes, std::function<void()> initializer);
};

std::ostream& operator<<(std::ostream& out, const Pool& pool);
std::ostream& operator<<(std::ostream& out, const ThreadPool& pool);

}  // namespace mp

template <class T>
struct fmt::formatter<mp::AsyncResult<T>> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const mp::AsyncResult<T>& result, Context& context) const {
    return fmt::formatter<std::string>::format(result.repr(), context);
  }
};
template <bool Processes>
struct fmt::formatter<mp::detail::BasicPool<Processes>> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const mp::detail::BasicPool<Processes>& pool, Context& context) const {
    return fmt::formatter<std::string>::format(pool.repr(), context);
  }
};
template <>
struct fmt::formatter<mp::Pool> : fmt::formatter<mp::detail::BasicPool<true>> {};
template <>
struct fmt::formatter<mp::ThreadPool> : fmt::formatter<mp::detail::BasicPool<false>> {};
