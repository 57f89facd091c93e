#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "mp/detail/flat.hpp"
#include "mp/detail/os.hpp"
#include "mp/errors.hpp"
#include "mp/pickle.hpp"

/// What a proxy stands on: calls to an object in a manager's server, and
/// values in the form in which the server keeps them.
namespace mp::detail {

class ServerHandle;  // A process's connections to one server; in manager_client.hpp.

/// What a server says of an object that it has.
struct ObjectFacts {
  std::uint64_t id = 0;         ///< Never used again.
  std::uint64_t signature = 0;  ///< Of the elements; 0 where there are none.
  std::string kind = {};        ///< "list": what it is.
  std::string type_id = {};     ///< "get_list": by what name it was asked for.
};

/// One reference of this process to an object; given back with the last proxy
/// that shares it. A forked child takes a reference of its own at the first call.
class ProxyState {
 public:
  /// Takes over a reference that the server has counted already.
  ProxyState(std::shared_ptr<ServerHandle> server, ObjectFacts facts);
  /// What a proxy is inside its own server: not to be called, but it keeps
  /// the object alive.
  ProxyState(ObjectFacts facts, std::shared_ptr<const void> object);
  ProxyState(const ProxyState&) = delete;
  ProxyState& operator=(const ProxyState&) = delete;
  ~ProxyState();

  [[nodiscard]] const ObjectFacts& facts() const noexcept { return facts_; }
  /// Null inside the server.
  [[nodiscard]] const std::shared_ptr<ServerHandle>& server() const noexcept { return server_; }
  /// Makes sure that this process has a reference; throws inside the server.
  void require_reference();
  /// No child will use what it inherits of this: none need be waited for when
  /// the reference is given back.
  void stays_in_this_process() noexcept { born_ = UINT64_MAX; }

  void pickle(Encoder& out) const;
  static std::shared_ptr<ProxyState> unpickle(Decoder& in);

 private:
  std::shared_ptr<ServerHandle> server_;
  std::shared_ptr<const void> object_;
  ObjectFacts facts_;
  std::atomic<std::uint32_t> generation_ = 0;  // The process, by its forks, that has the reference.
  std::uint64_t born_ = 0;                     // Children started later may have inherited this.
};

/// One call: the arguments are written into args(), then result() sends them
/// and returns what came back, or throws what was thrown there.
class RemoteCall {
 public:
  RemoteCall(std::shared_ptr<ProxyState> target, std::string_view method);
  /// With arguments that are plain numbers.
  template <Number First, Number... Rest>
  RemoteCall(std::shared_ptr<ProxyState> target, std::string_view method, First first, Rest... rest)
      : RemoteCall(std::move(target), method) {
    request_.number(first);
    (request_.number(rest), ...);
  }
  /// With arguments that `write` writes.
  template <std::invocable<Encoder&> Write>
  RemoteCall(std::shared_ptr<ProxyState> target, std::string_view method, Write write)
      : RemoteCall(std::move(target), method) {
    write(request_);
  }
  RemoteCall(const RemoteCall&) = delete;
  RemoteCall& operator=(const RemoteCall&) = delete;

  [[nodiscard]] Encoder& args() noexcept { return request_; }
  /// Goes behind what args() holds, from where it is: it stays until result().
  void attach(std::span<const std::byte> bytes) noexcept { attached_ = bytes; }
  /// The server that is called: where its own proxies need no lease.
  [[nodiscard]] const ServerHandle* server() const noexcept { return target_->server().get(); }
  Decoder& result();
  /// For what returns nothing.
  void finish() { result(); }

 private:
  friend class Wire;
  friend class ServerHandle;
  std::shared_ptr<ProxyState> target_;
  Encoder request_;
  std::span<const std::byte> attached_;
  std::array<std::byte, 512> small_;
  std::vector<std::byte> large_;
  std::optional<Decoder> reply_;
};

/// While values cross to a server and back: proxies of that server's own
/// objects are noted here, and the server counts them as part of the value.
class TokenScope {
 public:
  explicit TokenScope(const ServerHandle* server) : server_(server), outer_(current()) {
    current() = this;
  }
  TokenScope(const TokenScope&) = delete;
  TokenScope& operator=(const TokenScope&) = delete;
  ~TokenScope() { current() = outer_; }

  static TokenScope*& current() noexcept;
  /// Null: inside the server.
  [[nodiscard]] const ServerHandle* server() const noexcept { return server_; }
  [[nodiscard]] std::vector<std::uint64_t>& ids() noexcept { return ids_; }

 private:
  const ServerHandle* server_;
  TokenScope* outer_;
  std::vector<std::uint64_t> ids_;
};

// --- elements ----------------------------------------------------------------
//
// An element crosses as a length (its highest bit: references follow), its
// bytes, and the objects that it refers to. The server looks at no more.

inline constexpr std::uint32_t has_references = 0x8000'0000U;
void put_encoded(Encoder& out, const Encoder& value, std::span<const std::uint64_t> ids);
[[noreturn]] void element_too_large();

template <class T>
void put_element(Encoder& out, const T& value, const ServerHandle* server) {
  static_assert(Picklable<T>, "an element of a managed object has to be picklable");
  if constexpr (Number<T>) {
    out.number(static_cast<std::uint32_t>(sizeof(T)));
    out.number(value);
  } else if constexpr (FlatValue<T>) {
    const std::uint64_t count = std::ranges::size(value);
    const std::uint64_t size = sizeof count + count * sizeof(typename T::value_type);
    if (size >= has_references) element_too_large();
    out.number(static_cast<std::uint32_t>(size));
    encode(out, value);
  } else {
    TokenScope scope(server);
    Encoder encoded;
    encode(encoded, value);
    put_encoded(out, encoded, scope.ids());
  }
}

template <class T>
T take_element(Decoder& in, const ServerHandle* server) {
  const auto head = in.number<std::uint32_t>();
  const std::size_t size = head & ~has_references;
  const std::size_t before = in.left();
  TokenScope scope(server);
  T value = decode<T>(in);
  if (before - in.left() != size) Decoder::malformed("an element of another length");
  if ((head & has_references) != 0) {
    for (auto count = in.number<std::uint32_t>(); count > 0; --count) in.number<std::uint64_t>();
  }
  return value;
}

template <class T>
std::optional<T> take_optional(Decoder& in, const ServerHandle* server) {
  if (!in.number<bool>()) return std::nullopt;
  return take_element<T>(in, server);
}

template <class T>
std::vector<T> take_elements(Decoder& in, const ServerHandle* server) {
  const std::size_t count = in.count(sizeof(std::uint32_t));
  std::vector<T> values;
  values.reserve(count);
  for (std::size_t i = 0; i < count; ++i) values.push_back(take_element<T>(in, server));
  return values;
}

/// Numbers whose length need not be said of each.
template <class T>
concept SmallNumber = Number<T> && sizeof(T) <= 8;

/// Numbers with which the server itself can calculate.
enum class NumberKind : std::uint8_t { i8, i16, i32, i64, u8, u16, u32, u64, f32, f64 };
template <class T>
concept ManagedNumber = (std::is_integral_v<T> || std::is_same_v<T, float> ||
                         std::is_same_v<T, double>)&&!std::is_same_v<T, bool>;
template <ManagedNumber T>
consteval NumberKind number_kind() {
  if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 4 ? NumberKind::f32 : NumberKind::f64;
  } else {
    constexpr int power = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return static_cast<NumberKind>((std::is_signed_v<T> ? 0 : 4) + power);
  }
}

/// A time-out as the server takes it: nanoseconds, or -1 for none.
inline std::int64_t wire_timeout(const Timeout& timeout) {
  return timeout ? std::max<std::int64_t>(timeout->count(), 0) : -1;
}

// --- functions that run in the server ------------------------------------------
//
// A function crosses by a name, under which the server's program must know it:
// no byte that arrives is ever an address. Each function that the program
// uses so is entered in the table before main().

/// Runs a function on one object's bytes: `value` as they are, `changed` as
/// they shall be, `result` what it returns.
using AppliedFunction = void (*)(void* object, Decoder& value, Encoder& changed, Decoder& args,
                                 Encoder& result);

/// A number for a class: of its name, as the elements' signature is of their shape.
std::uint64_t type_signature(const std::type_info& type);

/// What a function can be run on.
enum class AppliedTo : std::uint8_t { element, list, object, task };

bool register_applied(const char* name, AppliedTo target, std::uint64_t signature,
                      AppliedFunction function);

/// The entry of one function; naming `entry` makes it.
template <class Applied>
struct AppliedEntry {
  static const bool entry;
};
template <class Applied>
const bool AppliedEntry<Applied>::entry = register_applied(typeid(Applied).name(), Applied::target,
                                                           Applied::signature(), Applied::run);

template <class Applied>
const char* applied_name() {
  // Without this use the entry would not be there.
  [[maybe_unused]] const bool entered = AppliedEntry<Applied>::entry;
  return typeid(Applied).name();
}

/// Calls a function as std::invoke does, and encodes what it returns.
template <class Function, class... Args>
void invoke_and_encode(Encoder& result, Function&& function, Args&&... args) {
  using Result = std::invoke_result_t<Function, Args...>;
  if constexpr (std::is_void_v<Result>) {
    std::invoke(std::forward<Function>(function), std::forward<Args>(args)...);
  } else {
    put_element<std::decay_t<Result>>(
        result, std::invoke(std::forward<Function>(function), std::forward<Args>(args)...),
        nullptr);
  }
}

/// fn(T&, args...) on one element.
template <class T, class Function, class... Args>
struct ApplyToElement {
  static constexpr AppliedTo target = AppliedTo::element;
  static std::uint64_t signature() { return detail::signature<T>; }
  static void run(void*, Decoder& value, Encoder& changed, Decoder& args, Encoder& result) {
    T object = take_element<T>(value, nullptr);
    std::tuple<Args...> rest{take_element<Args>(args, nullptr)...};
    std::apply([&](auto&... each) { invoke_and_encode(result, Function(), object, each...); },
               rest);
    put_element(changed, object, nullptr);
  }
};

/// fn(std::vector<T>&, args...) on a whole list.
template <class T, class Function, class... Args>
struct ApplyToList {
  static constexpr AppliedTo target = AppliedTo::list;
  static std::uint64_t signature() { return detail::signature<T>; }
  static void run(void*, Decoder& value, Encoder& changed, Decoder& args, Encoder& result) {
    std::vector<T> object = take_elements<T>(value, nullptr);
    std::tuple<Args...> rest{take_element<Args>(args, nullptr)...};
    std::apply([&](auto&... each) { invoke_and_encode(result, Function(), object, each...); },
               rest);
    changed.number<std::uint64_t>(object.size());
    for (const T& element : object) put_element(changed, element, nullptr);
  }
};

/// fn(T&, args...) on an object of a registered type.
template <class T, class Function, class... Args>
struct ApplyToObject {
  static constexpr AppliedTo target = AppliedTo::object;
  static std::uint64_t signature() { return type_signature(typeid(T)); }
  static void run(void* object, Decoder&, Encoder&, Decoder& args, Encoder& result) {
    std::tuple<Args...> rest{take_element<Args>(args, nullptr)...};
    std::apply(
        [&](auto&... each) {
          invoke_and_encode(result, Function(), *static_cast<T*>(object), each...);
        },
        rest);
  }
};

}  // namespace mp::detail
