#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "manager_bytes.hpp"
#include "manager_index.hpp"
#include "manager_objects.hpp"

/// What a dict is made of: keys in the order of their coming, each with a value.
namespace mp::detail {

/// For keys of one size and values of one, as numbers are: rows of both, side
/// by side. Of what was erased, rows stay until the next rebuild.
class NumberTable {
 public:
  NumberTable(std::size_t key_size, std::size_t value_size)
      : key_size_(key_size), value_size_(value_size) {}
  [[nodiscard]] static bool is_for(std::size_t key_size, std::size_t value_size) noexcept {
    return key_size != 0 && key_size <= max_size && value_size <= max_size;
  }
  [[nodiscard]] bool has_sizes(std::size_t key_size, std::size_t value_size) const noexcept {
    return key_size == key_size_ && value_size == value_size_;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Place find(std::string_view key) const;
  [[nodiscard]] std::string_view key(Place place) const { return {row(place), key_size_}; }
  [[nodiscard]] std::string_view value(Place place) const {
    return {row(place) + key_size_, value_size_};
  }
  void set(std::string_view key, std::string_view value);
  /// `count` rows, one after the other.
  void set_rows(const std::byte* rows, std::size_t count);
  /// The same for an empty table, which keeps the memory that they lie in.
  void adopt(Bytes memory, std::size_t begin, std::size_t count);
  void reserve(std::size_t more);
  void erase(Place place);

  template <class Function>
  void for_each(Function function) const {
    for (std::size_t at = 0; at < rows_; ++at) {
      if (is_live(at)) function(static_cast<Place>(at));
    }
  }
  /// Of a table that is not empty: erase() leaves a live one at the end.
  [[nodiscard]] Place last() const { return static_cast<Place>(rows_ - 1); }

 private:
  static constexpr std::size_t max_size = sizeof(std::uint64_t);

  [[nodiscard]] std::size_t row_size() const noexcept { return key_size_ + value_size_; }
  [[nodiscard]] const char* row(std::size_t place) const {
    return reinterpret_cast<const char*>(memory_.data()) + begin_ + place * row_size();
  }
  [[nodiscard]] char* row(std::size_t place) {
    return reinterpret_cast<char*>(memory_.data()) + begin_ + place * row_size();
  }
  [[nodiscard]] std::uint64_t number(std::size_t place) const;
  [[nodiscard]] bool is_live(std::size_t at) const { return at >= dead_.size() || !dead_[at]; }
  [[nodiscard]] std::size_t room() const noexcept;
  void grow();
  void rebuild(std::size_t entries);
  void merge(const std::byte* from, std::size_t count);
  template <class Sizes>
  void merge(const std::byte* from, std::size_t count, Sizes sizes);

  std::size_t key_size_;
  std::size_t value_size_;
  Bytes memory_;
  std::size_t begin_ = 0;  // Of the rows in it.
  std::size_t rows_ = 0;
  std::vector<bool> dead_;  // Of the rows that there were at the last erase().
  std::size_t size_ = 0;
  PlaceIndex index_;
};

/// For keys and elements of all kinds.
class ElementTable {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Place find(std::string_view key) const;
  [[nodiscard]] std::string_view key(Place place) const { return entries_[place].key.view(); }
  [[nodiscard]] Element& value(Place place) { return entries_[place].value; }
  [[nodiscard]] const Element& value(Place place) const { return entries_[place].value; }
  void set(Blob key, Element value);
  /// As far as a claim of so many is believed.
  void reserve(std::size_t more);
  void erase(Place place);

  template <class Function>
  void for_each(Function function) const {
    for (std::size_t at = 0; at < entries_.size(); ++at) {
      if (entries_[at].live) function(static_cast<Place>(at));
    }
  }
  [[nodiscard]] Place last() const { return static_cast<Place>(entries_.size() - 1); }

 private:
  struct Entry {
    Blob key = {};
    Element value = {};
    std::uint32_t hash = 0;
    bool live = false;
  };
  void rebuild(std::size_t entries);

  std::vector<Entry> entries_;
  std::size_t size_ = 0;
  PlaceIndex index_;
};

/// A NumberTable as long as that will do, then an ElementTable.
class DictTable {
 public:
  [[nodiscard]] std::size_t size() const noexcept {
    return numbers_ ? numbers_->size() : elements_.size();
  }
  [[nodiscard]] std::optional<Place> find(std::string_view key) const;
  [[nodiscard]] std::string_view key(Place place) const {
    return numbers_ ? numbers_->key(place) : elements_.key(place);
  }
  /// `function(const Element&)`.
  template <class Function>
  void with_value(Place place, Function function) const {
    if (!numbers_) return function(elements_.value(place));
    function(Element{Blob(numbers_->value(place)), {}});
  }
  /// `function(Element&)`; a place is none any more after this.
  template <class Function>
  void change(Place place, Function function) {
    if (!numbers_) return function(elements_.value(place));
    Element value{Blob(numbers_->value(place)), {}};
    function(value);
    set(Blob(numbers_->key(place)), std::move(value));
  }
  void set(Blob key, Element value);
  /// Room for as many as `count` that come at once.
  void reserve(std::size_t count);
  /// Keys and values of those sizes; `memory`, if it is not null, is that in
  /// which they lie, to be taken if that is of use.
  void set_numbers(std::span<const std::byte> rows, std::size_t key_size, std::size_t value_size,
                   Bytes* memory);
  void erase(Place place);
  void clear() { *this = {}; }

  /// `function(Place)`, in the order of coming.
  template <class Function>
  void for_each(Function function) const {
    numbers_ ? numbers_->for_each(function) : elements_.for_each(function);
  }
  /// Of a table that is not empty: what came last.
  [[nodiscard]] Place last() const { return numbers_ ? numbers_->last() : elements_.last(); }

 private:
  bool takes_numbers(std::size_t key_size, std::size_t value_size);
  void become_elements();

  std::optional<NumberTable> numbers_;  // If there are any, elements_ is empty.
  ElementTable elements_;
};

}  // namespace mp::detail
