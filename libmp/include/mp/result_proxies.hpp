#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "mp/base_proxy.hpp"
#include "mp/detail/named_task.hpp"

/// Results of a manager's pool, which wait in the server for who asks.
namespace mp {

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

}  // namespace mp
