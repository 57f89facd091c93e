#pragma once

// The codec behind mp/pickle.hpp: one branch per kind of type, encode above
// decode so that the two can be held against each other.

#include "mp/pickle.hpp"

namespace mp {
namespace detail {

template <class T>
void encode_container(Encoder& out, const T& values) {
  out.number<std::uint64_t>(std::ranges::size(values));
  if constexpr (FlatContainer<T>) {
    out.bytes(std::ranges::data(values),
              std::ranges::size(values) * sizeof(typename T::value_type));
  } else {
    for (const auto& value : values) {
      encode<std::remove_cvref_t<typename T::value_type>>(out, value);
    }
  }
}

// The element of a map as it can be built: std::pair<const K, V> without const.
template <class T>
struct Buildable {
  using type = T;
};
template <class K, class V>
struct Buildable<std::pair<const K, V>> {
  using type = std::pair<K, V>;
};

template <class T>
T decode_container(Decoder& in) {
  T values;
  if constexpr (FlatContainer<T>) {
    using Value = typename T::value_type;
    const std::size_t count = in.count(sizeof(Value));
    if constexpr (std::same_as<Value, std::byte> || std::same_as<Value, unsigned char>) {
      // Written once: resize() would fill with zeros first.
      const auto* from = reinterpret_cast<const Value*>(in.take(count).data());
      values = T(from, from + count);
      return values;
    }
    values.resize(count);
    if constexpr (std::same_as<Value, bool>) {
      for (auto& value : values) value = in.number<bool>();
    } else {
      in.bytes(std::ranges::data(values), count * sizeof(Value));
    }
  } else {
    // An element takes at least a byte, unless its type has no state at all.
    using Value = typename Buildable<typename T::value_type>::type;
    const std::size_t count = in.count(Stateless<Value> ? 0 : 1);
    for (std::size_t i = 0; i < count; ++i) values.insert(values.end(), decode<Value>(in));
  }
  return values;
}

template <class T, std::size_t... I>
T decode_variant(Decoder& in, std::index_sequence<I...>) {
  const auto index = in.number<std::uint8_t>();
  std::optional<T> value;
  (void)((I == index &&
          (value.emplace(std::in_place_index<I>, decode<std::variant_alternative_t<I, T>>(in)),
           true)) ||
         ...);
  if (!value) Decoder::malformed("a variant without that alternative");
  return *std::move(value);
}

// Braces evaluate from left to right: the fields come in the order written.
template <class T, std::size_t... I>
T decode_tuple(Decoder& in, std::index_sequence<I...>) {
  return T{decode<std::remove_cv_t<std::tuple_element_t<I, T>>>(in)...};
}

}  // namespace detail

template <Picklable T>
void encode(Encoder& out, const T& value) {
  using namespace detail;
  if constexpr (HasPickleMembers<T>) {
    const Nested level(out);
    value.pickle(out);
  } else if constexpr (HasSerialize<T>) {
    const Nested level(out);
    // serialize() is one function for both directions, so it is not const.
    const_cast<T&>(value).serialize(out);
  } else if constexpr (Number<T>) {
    out.number(value);
  } else if constexpr (FunctionPointer<T>) {
    out.code(reinterpret_cast<const void*>(value));
  } else if constexpr (std::same_as<T, std::string>) {
    out.text(value);
  } else if constexpr (std::same_as<T, std::filesystem::path>) {
    out.text(value.native());
  } else if constexpr (is_optional<T> || is_unique_ptr<T>) {
    out.number(static_cast<bool>(value));
    if (value) encode(out, *value);
  } else if constexpr (is_duration<T>) {
    out.number(value.count());
  } else if constexpr (is_time_point<T>) {
    out.number(value.time_since_epoch().count());
  } else if constexpr (is_variant<T>) {
    static_assert(std::variant_size_v<T> < 256);
    out.number(static_cast<std::uint8_t>(value.index()));
    std::visit([&]<class A>(const A& alternative) { encode<A>(out, alternative); }, value);
  } else if constexpr (is_tuple_like<T>) {
    std::apply([&]<class... E>(const E&... elements) { (encode<E>(out, elements), ...); }, value);
  } else if constexpr (Container<T>) {
    encode_container(out, value);
  } else if constexpr (Stateless<T>) {
    // Nothing to say: the type is the value.
  } else {
    [[maybe_unused]] const std::conditional_t<MayNest<T>, Nested<Encoder>, Encoder&> level(out);
    boost::pfr::for_each_field(value, [&]<class F>(const F& field) { encode<F>(out, field); });
  }
}

template <Picklable T>
T decode(Decoder& in) {
  using namespace detail;
  if constexpr (HasPickleMembers<T>) {
    const Nested level(in);
    return T::unpickle(in);
  } else if constexpr (HasSerialize<T>) {
    const Nested level(in);
    static_assert(
        std::default_initializable<T>,
        "a class with serialize() must be constructible without arguments to be received");
    T value;
    value.serialize(in);
    return value;
  } else if constexpr (Number<T>) {
    return in.number<T>();
  } else if constexpr (FunctionPointer<T>) {
    return reinterpret_cast<T>(const_cast<void*>(in.code()));
  } else if constexpr (std::same_as<T, std::string>) {
    return in.text();
  } else if constexpr (std::same_as<T, std::filesystem::path>) {
    return T(in.text());
  } else if constexpr (is_optional<T>) {
    if (!in.number<bool>()) return std::nullopt;
    return decode<typename T::value_type>(in);
  } else if constexpr (is_unique_ptr<T>) {
    using Element = typename T::element_type;
    return in.number<bool>() ? T(new Element(decode<Element>(in))) : nullptr;
  } else if constexpr (is_duration<T>) {
    return T(in.number<typename T::rep>());
  } else if constexpr (is_time_point<T>) {
    return T(typename T::duration(in.number<typename T::rep>()));
  } else if constexpr (is_variant<T>) {
    return decode_variant<T>(in, std::make_index_sequence<std::variant_size_v<T>>());
  } else if constexpr (is_tuple_like<T>) {
    return decode_tuple<T>(in, std::make_index_sequence<std::tuple_size_v<T>>());
  } else if constexpr (Container<T>) {
    return decode_container<T>(in);
  } else if constexpr (Stateless<T>) {
    return T();
  } else {
    [[maybe_unused]] const std::conditional_t<MayNest<T>, Nested<Decoder>, Decoder&> level(in);
    T value{};
    boost::pfr::for_each_field(value, [&]<class F>(F& field) { field = decode<F>(in); });
    return value;
  }
}

template <class... Ts>
void Encoder::operator()(const Ts&... values) {
  (encode<Ts>(*this, values), ...);
}

template <class... Ts>
void Decoder::operator()(Ts&... values) {
  ((values = decode<Ts>(*this)), ...);
}

namespace detail {

// FNV-1a over the structure of a type: the same for the same layout of
// fields, whatever compiler or program it was built by.
struct SignatureHash {
  std::uint64_t value = 14695981039346656037U;
  constexpr SignatureHash add(std::uint64_t part) const {
    return {(value ^ part) * 1099511628211U};
  }
};

// As the compiler spells it: "... [with T = ns::Name<Argument>]".
template <class T>
constexpr auto spelled() {
  return __PRETTY_FUNCTION__;
}

// A class's name with its namespaces. Without what stands in brackets, which
// compilers spell differently: arguments and unnamed namespaces.
template <class T>
constexpr SignatureHash class_name(SignatureHash hash) {
  constexpr std::string_view text = spelled<T>();
  constexpr std::size_t begin = text.find("T = ") + 4;
  int open = 0;
  for (const char c : text.substr(begin, text.size() - 1 - begin)) {
    if (c == '<' || c == '(' || c == '{') ++open;
    if (open == 0) hash = hash.add(static_cast<unsigned char>(c));
    if (c == '>' || c == ')' || c == '}') --open;
  }
  return hash;
}

template <class T, int Depth>
constexpr SignatureHash class_signature(SignatureHash hash);

template <class T, int Depth = 0>
constexpr SignatureHash signature_of(SignatureHash hash) {
  constexpr auto all = []<class... Ts>(SignatureHash h, std::type_identity<Ts>...) {
    ((h = signature_of<std::remove_cv_t<Ts>, Depth + 1>(h)), ...);
    return h.add(')');
  };
  if constexpr (Depth > max_type_depth) {
    return hash.add('.');
  } else if constexpr (HasPickleMembers<T> || HasSerialize<T>) {
    return class_signature<T, Depth>(hash);
  } else if constexpr (std::is_floating_point_v<T>) {
    return hash.add('f').add(sizeof(T));
  } else if constexpr (std::same_as<T, bool>) {
    return hash.add('b');
  } else if constexpr (std::is_enum_v<T>) {
    return signature_of<std::underlying_type_t<T>, Depth + 1>(hash);
  } else if constexpr (std::is_integral_v<T>) {
    return hash.add(std::is_signed_v<T> ? 'i' : 'u').add(sizeof(T));
  } else if constexpr (FunctionPointer<T>) {
    return hash.add('p');
  } else if constexpr (std::same_as<T, std::string> || std::same_as<T, std::filesystem::path>) {
    return hash.add('s');
  } else if constexpr (is_optional<T>) {
    return signature_of<typename T::value_type, Depth + 1>(hash.add('o'));
  } else if constexpr (is_unique_ptr<T>) {
    return signature_of<typename T::element_type, Depth + 1>(hash.add('o'));
  } else if constexpr (is_duration<T> || is_time_point<T>) {
    return signature_of<typename T::rep, Depth + 1>(hash.add('t'));
  } else if constexpr (is_variant<T>) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return all(hash.add('V'), std::type_identity<std::variant_alternative_t<I, T>>()...);
    }
    (std::make_index_sequence<std::variant_size_v<T>>());
  } else if constexpr (is_tuple_like<T>) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return all(hash.add('('), std::type_identity<std::tuple_element_t<I, T>>()...);
    }
    (std::make_index_sequence<std::tuple_size_v<T>>());
  } else if constexpr (Container<T>) {
    return signature_of<std::remove_cv_t<typename T::value_type>, Depth + 1>(hash.add('['));
  } else if constexpr (Stateless<T>) {
    return hash.add('0');
  } else if constexpr (!PlainAggregate<T>) {
    return class_signature<T, Depth>(hash);
  } else {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return all(hash.add('{'), std::type_identity<boost::pfr::tuple_element_t<I, T>>()...);
    }
    (std::make_index_sequence<boost::pfr::tuple_size_v<T>>());
  }
}

template <class T>
struct ClassArguments {
  template <int Depth>
  static constexpr SignatureHash add(SignatureHash hash) {
    return hash;
  }
};
template <template <class...> class C, class... Ts>
struct ClassArguments<C<Ts...>> {
  template <int Depth>
  static constexpr SignatureHash add(SignatureHash hash) {
    ((hash = signature_of<std::remove_cv_t<Ts>, Depth + 1>(hash)), ...);
    return hash.add('>');
  }
};

// A class that says itself what its bytes are: its name, and what it is a class of.
template <class T, int Depth>
constexpr SignatureHash class_signature(SignatureHash hash) {
  return ClassArguments<T>::template add<Depth>(class_name<T>(hash.add('C')));
}

/// A number for the shape of T: two types of one number have bytes of the
/// same form, so bytes sent as one kind are not read as another.
template <class T>
inline constexpr std::uint64_t signature = signature_of<T>(SignatureHash()).value;

/// How an argument is kept and sent: text literals as std::string, else decayed.
template <class T>
using Stored = std::conditional_t<std::is_convertible_v<T, std::string_view> &&
                                      !std::is_same_v<std::decay_t<T>, std::string> &&
                                      !std::is_class_v<std::decay_t<T>>,
                                  std::string, std::decay_t<T>>;

}  // namespace detail
}  // namespace mp
