#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/detail/remote.hpp"
#include "mp/errors.hpp"
#include "mp/pickle.hpp"

/// What a manager's server is told it may make and call.
namespace mp::detail {

class ManagedObject;

/// One method that clients may call.
struct MethodEntry {
  std::string name = {};
  void (*run)(void* object, Decoder& args, Encoder& result) = nullptr;
};

/// One type, or one callable, by the name that clients ask for.
struct TypeEntry {
  enum class Kind : std::uint8_t { builtin, user, callable };
  Kind kind = Kind::user;
  std::uint64_t signature = 0;
  std::shared_ptr<void> (*create)(Decoder&) = nullptr;
  std::vector<MethodEntry> methods = {};
  std::function<std::shared_ptr<ManagedObject>()> callable = {};

  void pickle(Encoder& out) const;
  static TypeEntry unpickle(Decoder& in);
};
using Registry = std::map<std::string, TypeEntry, std::less<>>;

/// An object of a registered type, as the server keeps it.
std::shared_ptr<ManagedObject> make_user_object(std::string kind, std::uint64_t signature,
                                                std::vector<MethodEntry> methods,
                                                std::shared_ptr<void> object);

inline constexpr std::uint64_t signature_of_nothing = 1;

[[noreturn]] void wrong_arguments(const char* what);

/// Arguments as a client sends them: the signature of all, then each.
template <class... Args>
std::tuple<Args...> take_arguments(Decoder& in) {
  if (in.number<std::uint64_t>() != signature<std::tuple<Args...>>) {
    wrong_arguments("takes other arguments");
  }
  return std::tuple<Args...>{take_element<Args>(in, nullptr)...};
}
template <class... Args>
void put_arguments(Encoder& out, [[maybe_unused]] const ServerHandle* server, const Args&... args) {
  out.number(signature<std::tuple<Stored<Args>...>>);
  (put_element<Stored<Args>>(out, args, server), ...);
}

template <class Function>
struct MethodTraits;
template <class R, class C, class... Args>
struct MethodTraits<R (C::*)(Args...)> {
  using Class = C;
  using Result = std::decay_t<R>;
  using Arguments = std::tuple<std::decay_t<Args>...>;
  static auto take(Decoder& in) { return take_arguments<std::decay_t<Args>...>(in); }
};
template <class R, class C, class... Args>
struct MethodTraits<R (C::*)(Args...) const> : MethodTraits<R (C::*)(Args...)> {};
template <class R, class C, class... Args>
struct MethodTraits<R (C::*)(Args...) noexcept> : MethodTraits<R (C::*)(Args...)> {};
template <class R, class C, class... Args>
struct MethodTraits<R (C::*)(Args...) const noexcept> : MethodTraits<R (C::*)(Args...)> {};
template <class R, class C, class... Args>
struct MethodTraits<R (*)(C&, Args...)> : MethodTraits<R (C::*)(Args...)> {};

template <auto Function>
void run_method(void* object, Decoder& in, Encoder& out) {
  using Traits = MethodTraits<decltype(Function)>;
  auto args = Traits::take(in);
  auto& self = *static_cast<typename Traits::Class*>(object);
  std::apply(
      [&](auto&... each) {
        using Result = typename Traits::Result;
        if constexpr (std::is_void_v<Result>) {
          std::invoke(Function, self, std::move(each)...);
          out.number(signature_of_nothing);
        } else {
          const Result result = std::invoke(Function, self, std::move(each)...);
          out.number(signature<Result>);
          put_element<Result>(out, result, nullptr);
        }
      },
      args);
}

template <class T, class... Args>
std::shared_ptr<void> create_object(Decoder& in) {
  return std::apply([](auto&&... each) { return std::make_shared<T>(std::move(each)...); },
                    take_arguments<Args...>(in));
}

}  // namespace mp::detail
