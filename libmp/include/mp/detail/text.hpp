#pragma once

#include <fmt/format.h>

#include <concepts>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>

#include "mp/detail/callable.hpp"
#include "mp/pickle.hpp"

namespace mp::detail {

/// A text in quotes, as Python's repr writes it.
inline std::string python_quoted(std::string_view text) {
  const bool double_quotes = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string result(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      result += {'\\', c};
    } else if (c == '\n') {
      result += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      result += fmt::format("\\x{:02x}", c);
    } else {
      result += c;
    }
  }
  return result + quote;
}

/// A value as Python's repr writes its like.
template <class T>
std::string python_text(const T& value) {
  const auto joined = [](const auto& range, const auto& each) {
    std::string text;
    for (const auto& part : range) text += (text.empty() ? "" : ", ") + each(part);
    return text;
  };
  if constexpr (std::same_as<T, bool>) {
    return value ? "True" : "False";
  } else if constexpr (std::same_as<T, char>) {
    return python_quoted({&value, 1});
  } else if constexpr (std::floating_point<T>) {
    std::string text = fmt::format("{}", value);
    return text.find_first_not_of("-0123456789") == text.npos ? text + ".0" : text;
  } else if constexpr (std::is_enum_v<T>) {
    return fmt::format("{}", static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (std::convertible_to<const T&, std::string_view>) {
    return python_quoted(value);
  } else if constexpr (is_optional<T>) {
    return value ? python_text(*value) : "None";
  } else if constexpr (is_tuple_like<T>) {
    std::string text;
    std::apply(
        [&](const auto&... parts) {
          ((text += (text.empty() ? "" : ", ") + python_text(parts)), ...);
        },
        value);
    return '(' + text + (std::tuple_size_v<T> == 1 ? ",)" : ")");
  } else if constexpr (requires { typename T::mapped_type; }) {
    return '{' +
           joined(value,
                  [](const auto& item) {
                    return python_text(item.first) + ": " + python_text(item.second);
                  }) +
           '}';
  } else if constexpr (Container<T>) {
    const bool is_set = requires { typename T::key_type; };
    return (is_set ? '{' : '[') +
           joined(value, [](const typename T::value_type& part) { return python_text(part); }) +
           (is_set ? '}' : ']');
  } else if constexpr (requires { value.repr(); }) {
    return value.repr();
  } else if constexpr (fmt::is_formattable<T>::value) {
    return fmt::format("{}", value);
  } else {
    return '<' + type_name(typeid(T)) + " object>";
  }
}

}  // namespace mp::detail
