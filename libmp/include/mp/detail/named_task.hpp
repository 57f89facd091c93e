#pragma once

#include <cstdint>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "mp/base_proxy.hpp"

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

/// One item's arguments. Proxies among them are on their way to another process.
template <class... Args>
void put_item(Encoder& out, const auto&... args) {
  Encoder item;
  (put_element<Args>(item, args, nullptr), ...);
  put_encoded(out, item, {});
}

}  // namespace detail
}  // namespace mp
