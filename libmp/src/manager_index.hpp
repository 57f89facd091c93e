#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string_view>

#include "mp/errors.hpp"

namespace mp::detail {

/// Where an entry is in the order of coming, from 0.
using Place = std::uint32_t;

/// Numbers stay near their neighbours, as those that come together often are;
/// the upper half counts, and what is above the index's bits.
inline std::uint32_t hash_of(std::uint64_t number) noexcept {
  constexpr std::uint32_t odd = 0x9E37'79B1U;  // 2^32 by the golden ratio.
  const auto hash =
      static_cast<std::uint32_t>(number) + static_cast<std::uint32_t>(number >> 32U) * odd;
  return hash ^ (hash >> 15U);
}
inline std::uint32_t hash_of(std::string_view key) noexcept {
  std::uint64_t number = 0;
  if (key.size() > sizeof number) {
    number = std::hash<std::string_view>()(key);
  } else if (!key.empty()) {
    std::memcpy(&number, key.data(), key.size());
  }
  return hash_of(number);
}

/// Places by hash: open addressing. It knows no keys, so who asks compares.
/// Perturbation, as CPython's, parts hashes that collide in their lower bits.
class PlaceIndex {
 public:
  static constexpr Place none = 0xffff'ffffU;
  /// More would not be told from what slots say beside.
  static constexpr std::size_t max_entries = std::size_t{1} << 31;

  /// For how many entries more there is room.
  [[nodiscard]] std::size_t left() const noexcept { return room_ - used_; }

  /// Empty, with room for so many: memory that is not touched before it is used.
  void reset(std::size_t entries) {
    if (entries > max_entries) throw ValueError("a dict of more than 2^31 items");
    const std::size_t count = std::bit_ceil(entries * 3 / 2 + 8);
    auto* slots = static_cast<Slot*>(std::calloc(count, sizeof(Slot)));
    if (slots == nullptr) throw std::bad_alloc();
    slots_.reset(slots);
    mask_ = count - 1;
    room_ = count / 3 * 2;
    used_ = 0;
  }

  /// The place for which `matches(place)`, or none.
  template <class Matches>
  [[nodiscard]] Place find(std::uint32_t hash, Matches matches) const {
    if (!slots_) return none;
    return *search(hash, matches) - 1;  // `free`, so counted, is none.
  }
  /// The same; for one that is not there, `make()` and then `next` is its place.
  /// There has to be room.
  template <class Matches, class Make>
  Place find_or_make(std::uint32_t hash, Place next, Matches matches, Make make) {
    Slot* slot = search(hash, matches);
    if (*slot != free) return *slot - 1;
    make();  // It may throw, and then nothing has happened.
    *slot = next + 1;
    ++used_;
    return next;
  }
  /// What is known to be new.
  void enter(std::uint32_t hash, Place place) {
    find_or_make(
        hash, place, [](Place) { return false; }, [] {});
  }
  /// What is behind a slot that was used stays findable.
  void erase(std::uint32_t hash, Place place) {
    *search(hash, [&](Place at) { return at == place; }) = was_used;
  }

 private:
  using Slot = std::uint32_t;  // free, was_used, or a place and 1.
  static constexpr Slot free = 0;
  static constexpr Slot was_used = 0xffff'ffffU;
  struct Free {
    void operator()(Slot* slots) const noexcept { std::free(slots); }
  };

  template <class Matches>
  Slot* search(std::uint32_t hash, Matches matches) const {
    std::uint32_t perturbation = hash;
    for (std::size_t at = hash & mask_;; at = (5 * at + perturbation + 1) & mask_) {
      Slot& slot = slots_[at];
      if (slot == free || (slot != was_used && matches(slot - 1))) return &slot;
      perturbation >>= 5U;
    }
  }

  std::unique_ptr<Slot[], Free> slots_;
  std::size_t mask_ = 0;
  std::size_t used_ = 0;  // Slots that are not free.
  std::size_t room_ = 0;
};

}  // namespace mp::detail
