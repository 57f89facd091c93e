#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/base_proxy.hpp"
#include "mp/detail/input.hpp"
#include "mp/detail/jobs.hpp"
#include "mp/detail/named_task.hpp"
#include "mp/detail/remote_stream.hpp"
#include "mp/on_worker_death.hpp"
#include "mp/pool_options.hpp"
#include "mp/result_proxies.hpp"
#include "mp/results.hpp"
#include "mp/timeout.hpp"

/// A pool of workers that lives in a manager's server.
namespace mp {

/// The keyword arguments of a manager's `Pool()`: those of PoolOptions that
/// another process can be told.
struct ManagerPoolOptions {
  std::optional<int> processes = {};         ///< Empty: the server's process_cpu_count().
  std::optional<int> maxtasksperchild = {};  ///< A worker is replaced after so many tasks.
  OnWorkerDeath on_worker_death = on_worker_death::fail;
  std::uint64_t max_rss = 0;                 ///< Of a worker; see PoolOptions.
  Timeout timeout = {};                      ///< How long a task may run; see ApplyOptions.
  Duration grace = std::chrono::seconds(1);  ///< From SIGTERM to SIGKILL.
};

/// The results of an imap of a manager's pool, as Results are a pool's.
template <class R>
using RemoteResults = Results<R, detail::RemoteStream<R>>;

/// Python: the pool of a manager.
///
/// Functions cross by name, as the server's program must know them: lambdas
/// without captures, functors without members, and functions as
/// `mp::by_name<f>`. They run in workers, which are children of the server and
/// may use proxies of any manager with the server's authkey. The pool ends, as
/// by terminate(), when the last proxy of it and of its unfinished results is
/// gone.
///
/// A function that the server's program does not have is an AttributeError; errors
/// of the pool are those of mp::Pool.
///
/// Callbacks run here, in a thread of this process's, one at a time, before the
/// result is ready for who asked for it; so what they refer to must be there
/// until then. The thread has the results that it is to tell of: they are
/// awaited though nobody else has them. Python runs callbacks in the server.
class PoolProxy : public BaseProxy {
 public:
  explicit PoolProxy(std::shared_ptr<detail::ProxyState> state);
  static PoolProxy unpickle(Decoder& in) { return PoolProxy(detail::ProxyState::unpickle(in)); }

  /// f(args...) in a worker; waits for it.
  template <class Function, class... Args>
  auto apply(Function fn, const Args&... args) const {
    return apply_async(fn, args...).get();
  }
  template <class Function, class... Args>
  auto apply_async(Function fn, const Args&... args) const {
    return apply_async(ApplyOptions<detail::TaskResult<Function, Args...>>(), fn, args...);
  }
  /// `pool.apply_async({.callback = print}, mp::by_name<square>, 7)`
  template <class Function, class... Args>
  auto apply_async(ApplyOptions<detail::TaskResult<Function, Args...>> options, Function,
                   const Args&... args) const {
    detail::require_stateless<Function>();
    using detail::Stored;
    using Result = detail::TaskResult<Function, Args...>;
    using Task = detail::ApplyAsTask<Function, Stored<Args>...>;
    auto ticket = ticket_for(options);
    auto call = starting({.is_map = false,
                          .chunksize = 0,
                          .limit = options.timeout,
                          .signature = detail::result_signature<Result>(),
                          .name = detail::applied_name<Task>()},
                         ticket);
    call.args().template number<std::uint64_t>(1);
    detail::put_item<Stored<Args>...>(call.args(), args...);
    return finish<AsyncResultProxy<Result>>(call, ticket, options);
  }

  /// f of each item, in the order of the items. All are run even if one
  /// fails; then the first failure, by position, is thrown.
  template <class Function, std::ranges::sized_range Items>
  auto map(Function fn, const Items& items, std::optional<int> chunksize = {}) const {
    return map_async(fn, items, chunksize).get();
  }
  template <class Function, class T>
  auto map(Function fn, std::initializer_list<T> items, std::optional<int> chunksize = {}) const {
    return map_async(fn, std::vector<T>(items), chunksize).get();
  }
  template <class Function, std::ranges::sized_range Items>
  auto map_async(Function fn, const Items& items, std::optional<int> chunksize = {}) const {
    return start_map<false>({.chunksize = chunksize}, fn, items);
  }
  template <class Function, class T>
  auto map_async(Function fn, std::initializer_list<T> items,
                 std::optional<int> chunksize = {}) const {
    return map_async(fn, std::vector<T>(items), chunksize);
  }
  /// `pool.map_async({.chunksize = 8, .callback = print}, mp::by_name<f>, items)`
  template <class Function, std::ranges::sized_range Items>
  auto map_async(MapOptions<detail::MapTaskResult<Function, Items, false>> options, Function fn,
                 const Items& items) const {
    return start_map<false>(std::move(options), fn, items);
  }
  /// The same for items that are tuples of arguments.
  template <class Function, std::ranges::sized_range Items>
  auto starmap(Function fn, const Items& items, std::optional<int> chunksize = {}) const {
    return starmap_async(fn, items, chunksize).get();
  }
  template <class Function, class T>
  auto starmap(Function fn, std::initializer_list<T> items,
               std::optional<int> chunksize = {}) const {
    return starmap_async(fn, std::vector<T>(items), chunksize).get();
  }
  template <class Function, std::ranges::sized_range Items>
  auto starmap_async(Function fn, const Items& items, std::optional<int> chunksize = {}) const {
    return start_map<true>({.chunksize = chunksize}, fn, items);
  }
  template <class Function, class T>
  auto starmap_async(Function fn, std::initializer_list<T> items,
                     std::optional<int> chunksize = {}) const {
    return starmap_async(fn, std::vector<T>(items), chunksize);
  }
  template <class Function, std::ranges::sized_range Items>
  auto starmap_async(MapOptions<detail::MapTaskResult<Function, Items, true>> options, Function fn,
                     const Items& items) const {
    return start_map<true>(std::move(options), fn, items);
  }

  /// f of each item, one by one, in order; the input is read as the results
  /// are, a bounded number of items ahead and in the reader's thread, so it
  /// may be endless. It is read on after close(); join() reads all the rest of it,
  /// in its own thread, if it is this process's. Results come in messages of as many as are ready;
  /// they are for this process, and not to be sent to another. Throws ValueError `Chunksize must be
  /// 1+`. Dropping what it returns stops the server, too.
  template <class Function, class Range>
  auto imap(Function fn, Range&& items, int chunksize = 1) const {
    return start_imap(true, {.chunksize = chunksize}, fn, std::forward<Range>(items));
  }
  template <class Function, class T>
  auto imap(Function fn, std::initializer_list<T> items, int chunksize = 1) const {
    return imap(fn, std::vector<T>(items), chunksize);
  }
  template <class Function, class Range>
  auto imap(ImapOptions options, Function fn, Range&& items) const {
    return start_imap(true, options, fn, std::forward<Range>(items));
  }
  /// The same, in the order in which they are done.
  template <class Function, class Range>
  auto imap_unordered(Function fn, Range&& items, int chunksize = 1) const {
    return start_imap(false, {.chunksize = chunksize}, fn, std::forward<Range>(items));
  }
  template <class Function, class T>
  auto imap_unordered(Function fn, std::initializer_list<T> items, int chunksize = 1) const {
    return imap_unordered(fn, std::vector<T>(items), chunksize);
  }
  template <class Function, class Range>
  auto imap_unordered(ImapOptions options, Function fn, Range&& items) const {
    return start_imap(false, options, fn, std::forward<Range>(items));
  }

  /// No more tasks, but for items of an imap that is under way; the workers end
  /// when all are done.
  void close() const { request("close").finish(); }
  /// Ends now: results that are not ready become PoolTerminated.
  void terminate() const { request("terminate").finish(); }
  /// Waits until the workers have ended, so also until other processes have read
  /// what they ask for by imap; false at the end of the time. Throws ValueError
  /// `Pool is still running` before close() or terminate(), AssertionError in the
  /// input of an imap of this pool.
  bool join(Timeout timeout = {}) const;
  [[nodiscard]] std::string repr() const { return describe("PoolProxy"); }

 private:
  struct Start {
    bool is_map;
    std::int64_t chunksize;  // 0: by measured time.
    Timeout limit;
    std::uint64_t signature;
    const char* name;
  };
  [[nodiscard]] detail::RemoteCall starting(const Start& start,
                                            const detail::CallbackTicket& ticket) const;
  [[nodiscard]] std::shared_ptr<detail::ProxyState> started(detail::RemoteCall& call) const;
  static std::int64_t checked_chunksize(std::optional<int> chunksize);

  // Before the task is handed out: it may be done at once.
  template <class Options>
  [[nodiscard]] detail::CallbackTicket ticket_for(const Options& options) const {
    if (!options.callback && !options.error_callback) return {};
    return detail::CallbackTicket::take(shared_state());
  }
  template <class Proxy, class Options>
  [[nodiscard]] Proxy finish(detail::RemoteCall& call, detail::CallbackTicket& ticket,
                             Options& options) const {
    Proxy result(started(call));
    if (ticket) detail::tell_when_done(result, ticket, options);
    return result;
  }

  template <bool Star, class Function, class Items>
  auto start_map(MapOptions<detail::MapTaskResult<Function, Items, Star>> options, Function,
                 const Items& items) const {
    detail::require_stateless<Function>();
    using Task = detail::MapTask<Function, Items, Star>;
    const std::int64_t chunksize = checked_chunksize(options.chunksize);
    auto ticket = ticket_for(options);
    auto call = starting({.is_map = true,
                          .chunksize = chunksize,
                          .limit = options.timeout,
                          .signature = detail::result_signature<typename Task::Result>(),
                          .name = detail::applied_name<typename Task::Applied>()},
                         ticket);
    call.args().template number<std::uint64_t>(std::ranges::size(items));
    for (const auto& item : items) Task::put(call.args(), item);
    return finish<MapResultProxy<typename Task::Result>>(call, ticket, options);
  }

  struct StartedImap {
    std::shared_ptr<detail::ProxyState> state;
    std::size_t workers;
  };
  [[nodiscard]] StartedImap started_imap(bool ordered, const ImapOptions& options,
                                         std::uint64_t signature, const char* name) const;

  template <class Function, class Range>
  auto start_imap(bool ordered, const ImapOptions& options, Function, Range&& items) const {
    detail::require_stateless<Function>();
    using Item = detail::ItemOf<Range>;
    using Result = detail::AppliedResult<Function, Item&>;
    auto started = started_imap(ordered, options, detail::result_signature<Result>(),
                                detail::applied_name<detail::ApplyAsTask<Function, Item>>());
    auto input = std::make_shared<detail::Input<Range>>(std::forward<Range>(items));
    const auto pull = [input](detail::ItemBatch& batch) {
      const auto add = [&](auto&& element) {
        detail::put_item<Item>(batch.items(),
                               detail::as_item<Item>(std::forward<decltype(element)>(element)));
        batch.added();
      };
      while (!batch.full()) {
        if (input->take(add)) continue;
        batch.keep_all();
        return batch.make_last();
      }
    };
    auto stream = std::make_shared<detail::RemoteStream<Result>>(
        std::move(started.state), *shared_state(),
        detail::imap_rules(ordered, options, started.workers, options.timeout), started.workers,
        pull);
    stream->open();
    return RemoteResults<Result>(std::move(stream), Timeout());
  }
};

}  // namespace mp
