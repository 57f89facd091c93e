#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>

#include "mp/pickle.hpp"

namespace mp::detail {

/// A T whose bytes lie in one piece, so that they need no copy before they
/// are sent: std::string, and vectors of numbers.
template <class T>
concept FlatValue =
    !HasPickleMembers<T> && !HasSerialize<T> && (std::same_as<T, std::string> || FlatContainer<T>);

/// A T that is decoded without running anybody's own code, in one copy: it
/// may be read where it lies, under a lock.
template <class T>
concept DecodedInPlace = Number<T> || FlatValue<T>;

/// What encode() makes of `value`, as pieces; they point into `value` and
/// into this object.
template <FlatValue T>
class FlatPieces {
 public:
  explicit FlatPieces(const T& value) {
    const std::uint64_t count = std::ranges::size(value);
    std::memcpy(count_.data(), &count, sizeof count);
    pieces_ = {std::span<const std::byte>(count_),
               std::as_bytes(std::span(std::ranges::data(value), std::ranges::size(value)))};
  }
  FlatPieces(const FlatPieces&) = delete;
  FlatPieces& operator=(const FlatPieces&) = delete;

  [[nodiscard]] std::span<const std::span<const std::byte>> get() const noexcept { return pieces_; }

 private:
  std::array<std::byte, sizeof(std::uint64_t)> count_;
  std::array<std::span<const std::byte>, 2> pieces_;
};

}  // namespace mp::detail
