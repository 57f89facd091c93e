#pragma once

#include <cstdint>
#include <functional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>

#include "mp/base_proxy.hpp"
#include "mp/detail/jobs.hpp"

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

template <class Function, class... Args>
using TaskResult = AppliedResult<Function, Stored<Args>&...>;

/// One item's arguments. Proxies among them are on their way to another process.
template <class... Args>
void put_item(Encoder& out, const auto&... args) {
  Encoder item;
  (put_element<Args>(item, args, nullptr), ...);
  put_encoded(out, item, {});
}

/// What a map does with one item: f(item), or f(elements of item...).
template <class Function, class Item, class Arguments>
struct ItemTask {};
template <class Function, class Item, class... Args>
struct ItemTask<Function, Item, std::tuple<Args...>> {
  using Result = AppliedResult<Function, Args&...>;
  using Applied = ApplyAsTask<Function, Args...>;
  static void put(Encoder& out, const Item& item) {
    if constexpr (std::is_same_v<std::tuple<Item>, std::tuple<Args...>>) {
      put_item<Item>(out, item);
    } else {
      std::apply([&](const auto&... each) { put_item<Args...>(out, each...); }, item);
    }
  }
};

template <class Item, bool Star>
struct ItemArguments {
  using type = std::tuple<Item>;
};
template <class... Args>
struct ItemArguments<std::tuple<Args...>, true> {
  using type = std::tuple<Args...>;
};
template <class A, class B>
struct ItemArguments<std::pair<A, B>, true> {
  using type = std::tuple<A, B>;
};

template <class Function, class Items, bool Star>
using MapTask =
    ItemTask<Function, Stored<std::ranges::range_value_t<Items>>,
             typename ItemArguments<Stored<std::ranges::range_value_t<Items>>, Star>::type>;
template <class Function, class Items, bool Star>
using MapTaskResult = MapValue<typename MapTask<Function, Items, Star>::Result>;

}  // namespace detail
}  // namespace mp
