#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "mp/base_proxy.hpp"
#include "mp/detail/jobs.hpp"
#include "mp/detail/named_task.hpp"
#include "mp/detail/result_callbacks.hpp"

/// Results of a manager's pool, which wait in the server for who asks.
namespace mp {

namespace detail {

template <class Proxy, class Options>
void tell_when_done(Proxy& result, CallbackTicket& ticket, Options& options);

class ResultProxy : public BaseProxy {
 public:
  /// Whether it is ready, after waiting for at most `timeout`.
  bool wait(Timeout timeout = {}) const;
  [[nodiscard]] bool ready() const;
  /// Throws ValueError while it is not ready.
  [[nodiscard]] bool successful() const;

 protected:
  using BaseProxy::BaseProxy;
  /// Waits for the callbacks, if there are any; what is left of the time.
  [[nodiscard]] Timeout after_callbacks(Timeout timeout) const;

 private:
  template <class Proxy, class Options>
  friend void tell_when_done(Proxy& result, CallbackTicket& ticket, Options& options);
  // It counts as ready when these callbacks have run; in this process only.
  void told_by(std::shared_ptr<Told> told) noexcept { told_ = std::move(told); }

  std::shared_ptr<Told> told_;
};

/// Of a result that is done, in the thread that tells of it.
template <class Proxy, class Done>
void run_callbacks(const Proxy& result, const Done& done,
                   const std::function<void(const std::exception_ptr&)>& failed) {
  try {
    if constexpr (std::is_void_v<decltype(result.get())>) {
      result.get();
      if (done) call_guarded(done);
    } else {
      const auto value = result.get();
      if (done) call_guarded([&] { done(value); });
    }
  } catch (...) {
    const auto error = std::current_exception();
    if (failed) call_guarded([&] { failed(error); });
  }
}

/// Has the callbacks of `options` run when the result is done.
template <class Proxy, class Options>
void tell_when_done(Proxy& result, CallbackTicket& ticket, Options& options) {
  auto told = std::make_shared<Told>();
  ticket.use([waiting = std::optional<Proxy>(result), told, done = std::move(options.callback),
              failed = std::move(options.error_callback)]() mutable {
    run_callbacks(*waiting, done, failed);
    // Who has waited finds nothing left of it.
    waiting.reset();
    told->set();
  });
  result.told_by(std::move(told));
}

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
    auto call = request("get", detail::wire_timeout(after_callbacks(timeout)));
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
    auto call = request("get", detail::wire_timeout(after_callbacks(timeout)));
    Decoder& in = call.result();
    if constexpr (!std::is_void_v<T>) return detail::take_elements<T>(in, server());
  }
  [[nodiscard]] std::string repr() const { return describe("MapResultProxy"); }
};

}  // namespace mp
