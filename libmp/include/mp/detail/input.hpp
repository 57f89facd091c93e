#pragma once

#include <cstddef>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>

namespace mp::detail {

/// A user's ranges, walked once and side by side until one ends: rvalues are
/// kept, lvalues referred to.
template <class... Ranges>
class Input {
 public:
  explicit Input(Ranges&&... ranges) : ranges_(std::forward<Ranges>(ranges)...) {}

  /// Calls `use` with the next elements; false at the end.
  template <class Use>
  bool take(Use use) {
    if (!at_) {
      at_.emplace(std::apply([](auto&... range) { return Iterators(std::ranges::begin(range)...); },
                             ranges_));
    }
    return take(use, std::index_sequence_for<Ranges...>());
  }

 private:
  using Iterators = std::tuple<std::ranges::iterator_t<std::remove_reference_t<Ranges>>...>;

  template <class Use, std::size_t... I>
  bool take(Use& use, std::index_sequence<I...>) {
    if ((at_end<I>() || ...)) return false;
    use(*std::get<I>(*at_)...);
    ((void)++std::get<I>(*at_), ...);
    return true;
  }

  template <std::size_t I>
  bool at_end() {
    return std::get<I>(*at_) == std::ranges::end(std::get<I>(ranges_));
  }

  std::tuple<Ranges...> ranges_;
  std::optional<Iterators> at_;
};

}  // namespace mp::detail
