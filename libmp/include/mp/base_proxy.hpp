#pragma once

#include <fmt/format.h>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "mp/detail/managed.hpp"
#include "mp/detail/remote.hpp"
#include "mp/detail/text.hpp"
#include "mp/errors.hpp"

/// Proxies: objects that live in a manager's server, used from anywhere.
///
/// A proxy is a cheap handle; copies refer to the same object, which lives as
/// long as any process has a proxy for it, one on its way in a message
/// included. It may be an argument of a Process, part of a message, and an
/// element of another managed object of the same manager. Any thread may use
/// it; each has a connection of its own, as has each forked child.
///
/// Every call is one message to the server and one back; it runs there alone,
/// so that single calls are atomic, and two calls are not. Errors of the
/// object are thrown here as they were there. When the server is gone, calls
/// throw EOFError, or std::system_error if it was gone before. What holds
/// descriptors cannot be an argument (PicklingError), nor what is larger than 2 GiB
/// be an element (ValueError). In its own server a proxy
/// cannot be called, nor one whose object is gone (RuntimeError).
namespace mp {

/// What all proxies have. Python: BaseProxy.
class BaseProxy {
 public:
  explicit BaseProxy(std::shared_ptr<detail::ProxyState> state) : state_(std::move(state)) {}

  /// Calls an exposed method of an object of a registered type by its name.
  /// The arguments' types are the declaration's, exactly (text literals are
  /// std::string), and R is what it returns: else TypeError. Throws
  /// AttributeError for a name that is not exposed. Python: _callmethod.
  template <class R = void, class... Args>
  R callmethod(std::string_view method, const Args&... args) const;

  /// Runs `fn(T&, args...)` in the server, as one step. `fn` is a lambda
  /// without captures or the like; the server's program must contain this very
  /// call, as it does where both run one program, else AttributeError.
  template <class T, class Function, class... Args>
  auto apply_to(Function fn, const Args&... args) const;

  /// By what name the object was asked for: "list", "get_queue".
  [[nodiscard]] const std::string& type_id() const noexcept { return state_->facts().type_id; }
  /// Its number in the server.
  [[nodiscard]] std::uint64_t id() const noexcept { return state_->facts().id; }
  /// `<ListProxy object, typeid 'list' at 0x1>`.
  [[nodiscard]] std::string repr() const { return describe("AutoProxy"); }

  /// Sent outside its server's own objects, it is kept alive for whoever
  /// receives it first; the receiver reaches the server with its own authkey.
  void pickle(Encoder& out) const { state_->pickle(out); }
  static BaseProxy unpickle(Decoder& in) { return BaseProxy(detail::ProxyState::unpickle(in)); }

  /// The same object; contents are not looked at.
  friend bool operator==(const BaseProxy& a, const BaseProxy& b) noexcept;

 protected:
  /// For a proxy of one kind: TypeError if the object is another, or has
  /// elements of another type.
  BaseProxy(std::shared_ptr<detail::ProxyState> state,
            std::initializer_list<std::string_view> kinds, std::uint64_t signature);

  template <detail::Number... Numbers>
  [[nodiscard]] detail::RemoteCall request(std::string_view method, Numbers... numbers) const {
    return detail::RemoteCall(state_, method, numbers...);
  }
  [[nodiscard]] const detail::ServerHandle* server() const noexcept {
    return state_->server().get();
  }
  [[nodiscard]] const std::shared_ptr<detail::ProxyState>& shared_state() const noexcept {
    return state_;
  }
  [[nodiscard]] std::string describe(const char* class_name) const;

 private:
  std::shared_ptr<detail::ProxyState> state_;
};

namespace detail {

template <class Function, class... Args>
using AppliedResult = std::decay_t<std::invoke_result_t<Function, Args...>>;

/// The end of a call by apply: what the function has returned.
template <class Result>
Result take_applied(RemoteCall& call) {
  Decoder& in = call.result();
  if constexpr (!std::is_void_v<Result>) {
    return take_element<Result>(in, call.server());
  }
}

template <class Function>
constexpr void require_stateless() {
  static_assert(Stateless<Function>,
                "mp: a function that runs in the server has no captures; pass what it needs as "
                "arguments");
}

}  // namespace detail

// --- calls by name -----------------------------------------------------------

template <class R, class... Args>
R BaseProxy::callmethod(std::string_view method, const Args&... args) const {
  auto call = request(method);
  detail::put_arguments(call.args(), server(), args...);
  Decoder& in = call.result();
  const auto returned = in.number<std::uint64_t>();
  if constexpr (!std::is_void_v<R>) {
    if (returned != detail::signature<R>) detail::wrong_arguments("returns another type");
    return detail::take_element<R>(in, server());
  }
}

template <class T, class Function, class... Args>
auto BaseProxy::apply_to(Function, const Args&... args) const {
  detail::require_stateless<Function>();
  using detail::Stored;
  using Result = detail::AppliedResult<Function, T&, Stored<Args>&...>;
  auto call = request("apply");
  call.args().text(detail::applied_name<detail::ApplyToObject<T, Function, Stored<Args>...>>());
  (detail::put_element<Stored<Args>>(call.args(), args, server()), ...);
  return detail::take_applied<Result>(call);
}

// --- text --------------------------------------------------------------------

namespace detail {

template <std::derived_from<BaseProxy> Proxy>
std::string text_of(const Proxy& proxy) {
  if constexpr (requires { proxy.str(); }) {
    return proxy.str();
  } else {
    return proxy.repr();
  }
}

}  // namespace detail

/// A proxy's text is its object's where that has one, as Python's str; a call
/// then. Else it is repr().
template <std::derived_from<BaseProxy> Proxy>
std::ostream& operator<<(std::ostream& out, const Proxy& proxy) {
  return out << detail::text_of(proxy);
}

}  // namespace mp

template <std::derived_from<mp::BaseProxy> Proxy>
struct fmt::formatter<Proxy> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const Proxy& proxy, Context& context) const {
    return fmt::formatter<std::string>::format(mp::detail::text_of(proxy), context);
  }
};
