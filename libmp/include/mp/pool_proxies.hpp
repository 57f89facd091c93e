#pragma once

#include <cstdint>
#include <functional>
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

/// A pool of workers that lives in a manager's server.
namespace mp {

/// A function as an object that needs no bytes: where callables cross by name
/// alone, as they do to a manager. `pool.map(mp::by_name<square>, {1, 2, 3})`
template <auto Function>
struct ByName {
  template <class... Args>
  auto operator()(Args&&... args) const -> std::invoke_result_t<decltype(Function), Args...> {
    return std::invoke(Function, std::forward<Args>(args)...);
  }
};
template <auto Function>
inline constexpr ByName<Function> by_name{};

namespace detail {

/// fn(args...) in a worker of the server's.
template <class Function, class... Args>
struct ApplyAsTask {
  static constexpr AppliedTo target = AppliedTo::task;
  static std::uint64_t signature() { return 0; }
  static void run(void*, Decoder&, Encoder&, Decoder& args, Encoder& result) {
    std::tuple<Args...> all{take_element<Args>(args, nullptr)...};
    std::apply([&](auto&... each) { invoke_and_encode(result, Function(), each...); }, all);
  }
};

template <class T>
constexpr std::uint64_t result_signature() {
  if constexpr (std::is_void_v<T>) {
    return signature_of_nothing;
  } else {
    return signature<T>;
  }
}

}  // namespace detail

namespace detail {

class ResultProxy : public BaseProxy {
 public:
  /// Whether it is ready, after waiting for at most `timeout`.
  bool wait(Timeout timeout = {}) const;
  [[nodiscard]] bool ready() const;
  /// Throws ValueError while it is not ready.
  [[nodiscard]] bool successful() const;

 protected:
  using BaseProxy::BaseProxy;
};

}  // namespace detail

/// A result that is on its way, in the server. Python: AsyncResult of a
/// manager's pool.
template <class T>
class AsyncResultProxy : public detail::ResultProxy {
 public:
  explicit AsyncResultProxy(std::shared_ptr<detail::ProxyState> state)
      : ResultProxy(std::move(state), {"AsyncResult"}, detail::result_signature<T>()) {}
  static AsyncResultProxy unpickle(Decoder& in) {
    return AsyncResultProxy(detail::ProxyState::unpickle(in));
  }

  /// Waits, and returns the value or throws what the task threw; again, when
  /// called again. Throws TimeoutError if it is not ready in time.
  T get(Timeout timeout = {}) const {
    auto call = request("get", detail::wire_timeout(timeout));
    return detail::take_applied<T>(call);
  }
  [[nodiscard]] std::string repr() const { return describe("AsyncResultProxy"); }
};

/// The results of a map that are on their way, in the order of the items.
template <class T>
class MapResultProxy : public detail::ResultProxy {
 public:
  explicit MapResultProxy(std::shared_ptr<detail::ProxyState> state)
      : ResultProxy(std::move(state), {"MapResult"}, detail::result_signature<T>()) {}
  static MapResultProxy unpickle(Decoder& in) {
    return MapResultProxy(detail::ProxyState::unpickle(in));
  }

  /// Waits; a vector, or nothing if the function returns nothing. Throws what
  /// the first task to fail threw, or TimeoutError.
  auto get(Timeout timeout = {}) const {
    auto call = request("get", detail::wire_timeout(timeout));
    Decoder& in = call.result();
    if constexpr (!std::is_void_v<T>) return detail::take_elements<T>(in, server());
  }
  [[nodiscard]] std::string repr() const { return describe("MapResultProxy"); }
};

/// Python: the pool of a manager.
///
/// Functions cross by name, as the server's program must know them: lambdas
/// without captures, functors without members, and functions as
/// `mp::by_name<f>`. They run in workers, which are children of the server and
/// may use proxies of any manager with the server's authkey. The pool ends, as
/// by terminate(), when the last proxy of it and of its unfinished results is
/// gone. Python has more: callbacks, which would run in the server; an
/// initializer, which a function can call itself; imap(), whose results would
/// have to be fetched one by one.
class PoolProxy : public BaseProxy {
 public:
  static constexpr const char* default_type_id = "Pool";
  explicit PoolProxy(std::shared_ptr<detail::ProxyState> state);
  static PoolProxy unpickle(Decoder& in) { return PoolProxy(detail::ProxyState::unpickle(in)); }

  /// f(args...) in a worker; waits for it.
  template <class Function, class... Args>
  auto apply(Function fn, const Args&... args) const {
    return apply_async(fn, args...).get();
  }
  template <class Function, class... Args>
  auto apply_async(Function, const Args&... args) const {
    detail::require_stateless<Function>();
    using detail::Stored;
    using Result = detail::AppliedResult<Function, Stored<Args>&...>;
    using Task = detail::ApplyAsTask<Function, Stored<Args>...>;
    auto call =
        starting(false, 0, detail::result_signature<Result>(), detail::applied_name<Task>());
    call.args().template number<std::uint64_t>(1);
    put_item<Stored<Args>...>(call.args(), args...);
    return AsyncResultProxy<Result>(started(call));
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
  auto map_async(Function, const Items& items, std::optional<int> chunksize = {}) const {
    using Item = detail::Stored<std::ranges::range_value_t<Items>>;
    return start_map<Function, Item>(items, chunksize, std::type_identity<std::tuple<Item>>());
  }
  /// The same for items that are tuples of arguments.
  template <class Function, std::ranges::sized_range Items>
  auto starmap(Function fn, const Items& items, std::optional<int> chunksize = {}) const {
    return starmap_async(fn, items, chunksize).get();
  }
  template <class Function, std::ranges::sized_range Items>
  auto starmap_async(Function, const Items& items, std::optional<int> chunksize = {}) const {
    using Item = std::ranges::range_value_t<Items>;
    return start_map<Function, Item>(items, chunksize, std::type_identity<Item>());
  }

  /// No more tasks; the workers end when all are done.
  void close() const { request("close").finish(); }
  /// Ends now: results that are not ready become PoolTerminated.
  void terminate() const { request("terminate").finish(); }
  /// Waits until the workers have ended; false at the end of the time. Throws
  /// ValueError `Pool is still running` before close() or terminate().
  bool join(Timeout timeout = {}) const;
  [[nodiscard]] std::string repr() const { return describe("PoolProxy"); }

 private:
  [[nodiscard]] detail::RemoteCall starting(bool is_map, std::int64_t chunksize,
                                            std::uint64_t signature, const char* name) const;
  [[nodiscard]] std::shared_ptr<detail::ProxyState> started(detail::RemoteCall& call) const;
  static std::int64_t checked_chunksize(std::optional<int> chunksize);

  // Proxies among the arguments are on their way to another process.
  template <class... Args>
  static void put_item(Encoder& out, const auto&... args) {
    Encoder item;
    (detail::put_element<Args>(item, args, nullptr), ...);
    detail::put_encoded(out, item, {});
  }

  template <class Function, class Item, class Items, class... Args>
  auto start_map(const Items& items, std::optional<int> chunksize,
                 std::type_identity<std::tuple<Args...>>) const {
    detail::require_stateless<Function>();
    using Result = detail::AppliedResult<Function, Args&...>;
    auto call = starting(true, checked_chunksize(chunksize), detail::result_signature<Result>(),
                         detail::applied_name<detail::ApplyAsTask<Function, Args...>>());
    call.args().template number<std::uint64_t>(std::ranges::size(items));
    for (const auto& item : items) {
      if constexpr (std::is_same_v<Item, std::tuple<Args...>>) {
        std::apply([&](const auto&... each) { put_item<Args...>(call.args(), each...); }, item);
      } else {
        put_item<Args...>(call.args(), item);
      }
    }
    return MapResultProxy<Result>(started(call));
  }
};

}  // namespace mp
