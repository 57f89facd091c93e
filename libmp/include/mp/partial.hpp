#pragma once

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "mp/pickle.hpp"

namespace mp {

/// A function with its first arguments bound: what a lambda would capture,
/// in a form that crosses to another process. Python: functools.partial.
template <class Function, class... Bound>
struct Partial {
  Function function;
  std::tuple<Bound...> bound;

  template <class... Args>
  decltype(auto) operator()(Args&&... args) const {
    return std::apply(
        [&](const Bound&... first) -> decltype(auto) {
          return std::invoke(function, first..., std::forward<Args>(args)...);
        },
        bound);
  }

  void pickle(Encoder& out) const requires Picklable<Function> &&(Picklable<Bound>&&...) {
    encode(out, function);
    encode(out, bound);
  }
  static Partial unpickle(Decoder& in) requires Picklable<Function> &&(Picklable<Bound>&&...) {
    auto function = decode<Function>(in);
    return {std::move(function), decode<std::tuple<Bound...>>(in)};
  }
};

template <class Function, class... Args>
auto partial(Function&& function, Args&&... args) {
  return Partial<std::decay_t<Function>, detail::Stored<Args>...>{std::forward<Function>(function),
                                                                  {std::forward<Args>(args)...}};
}

}  // namespace mp
