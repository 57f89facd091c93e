#include "manager_table.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace mp::detail {

namespace {

// Sizes of a row's parts, known when this is compiled: copying is one move then.
template <std::size_t Key, std::size_t Value>
struct FixedSizes {
  static constexpr std::size_t key = Key;
  static constexpr std::size_t value = Value;
};
struct RunTimeSizes {
  std::size_t key;
  std::size_t value;
};

std::uint64_t load(const void* bytes, std::size_t size) {
  std::uint64_t number = 0;
  std::memcpy(&number, bytes, size);
  return number;
}

void store(void* bytes, std::uint64_t number, std::size_t size) {
  std::memcpy(bytes, &number, size);
}

// Entries of which a claim is believed at once: room that is not touched yet.
constexpr std::size_t believed = std::size_t{1} << 18;

// For how many a table is made larger when it is full.
std::size_t twice(std::size_t size) {
  return std::max(std::min(2 * size, PlaceIndex::max_entries), size + 1);
}

}  // namespace

// --- NumberTable -------------------------------------------------------------

std::uint64_t NumberTable::number(std::size_t place) const { return load(row(place), key_size_); }

Place NumberTable::find(std::string_view key) const {
  if (key.size() != key_size_) return PlaceIndex::none;
  const std::uint64_t wanted = load(key.data(), key.size());
  return index_.find(hash_of(wanted), [&](Place at) { return number(at) == wanted; });
}

void NumberTable::set(std::string_view key, std::string_view value) {
  std::array<std::byte, 2 * max_size> row;
  std::memcpy(row.data(), key.data(), key_size_);
  std::memcpy(row.data() + key_size_, value.data(), value_size_);
  merge(row.data(), 1);
}

void NumberTable::set_rows(const std::byte* rows, std::size_t count) {
  if (count > size_) reserve(count - size_);
  merge(rows, count);
}

void NumberTable::adopt(Bytes memory, std::size_t begin, std::size_t count) {
  memory_ = std::move(memory);
  begin_ = begin;
  set_rows(memory_.data() + begin, count);
  memory_.fit();
}

// So many have come, though not all may have keys of their own: what is not
// needed is not touched either.
void NumberTable::reserve(std::size_t more) {
  if (key_size_ < sizeof(Place)) more = std::min(more, (std::size_t{1} << (8 * key_size_)) - size_);
  if (more > index_.left()) rebuild(size_ + more);
  memory_.reserve(begin_ + (rows_ + more) * row_size());
}

void NumberTable::merge(const std::byte* from, std::size_t count) {
  if (has_sizes(4, 4)) return merge(from, count, FixedSizes<4, 4>());
  if (has_sizes(4, 8)) return merge(from, count, FixedSizes<4, 8>());
  if (has_sizes(8, 4)) return merge(from, count, FixedSizes<8, 4>());
  if (has_sizes(8, 8)) return merge(from, count, FixedSizes<8, 8>());
  merge(from, count, RunTimeSizes{key_size_, value_size_});
}

// `from` may be where the rows themselves are, behind all that were merged.
template <class Sizes>
void NumberTable::merge(const std::byte* from, std::size_t count, Sizes sizes) {
  const std::size_t size = sizes.key + sizes.value;
  while (count > 0) {
    std::size_t some = std::min(count, room());
    if (some == 0) {
      grow();
      continue;
    }
    std::byte* const rows = memory_.data() + begin_;
    for (count -= some; some > 0; --some, from += size) {
      const std::uint64_t key = load(from, sizes.key);
      const std::uint64_t value = load(from + sizes.key, sizes.value);
      const Place place = index_.find_or_make(
          hash_of(key), static_cast<Place>(rows_),
          [&](Place at) { return load(rows + at * size, sizes.key) == key; }, [] {});
      store(rows + place * size, key, sizes.key);
      store(rows + place * size + sizes.key, value, sizes.value);
      if (place == rows_) {
        ++rows_;
        ++size_;
      }
    }
  }
  memory_.resize(begin_ + rows_ * row_size());
}

std::size_t NumberTable::room() const noexcept {
  return std::min(index_.left(), (memory_.capacity() - begin_) / row_size() - rows_);
}

void NumberTable::grow() {
  if (index_.left() == 0) rebuild(twice(size_));
  if (room() == 0) memory_.reserve(begin_ + std::max<std::size_t>(2 * rows_, 8) * row_size());
}

// Without what was erased.
void NumberTable::rebuild(std::size_t entries) {
  index_.reset(entries);
  std::size_t to = 0;
  for (std::size_t at = 0; at < rows_; ++at) {
    if (!is_live(at)) continue;
    if (to != at) std::memcpy(row(to), row(at), row_size());
    index_.enter(hash_of(number(to)), static_cast<Place>(to));
    ++to;
  }
  rows_ = to;
  dead_.clear();
}

void NumberTable::erase(Place place) {
  dead_.resize(rows_);
  index_.erase(hash_of(number(place)), place);
  dead_[place] = true;
  --size_;
  while (rows_ > 0 && dead_[rows_ - 1]) --rows_;
  dead_.resize(rows_);
  if (size_ == 0) *this = NumberTable(key_size_, value_size_);
}

// --- ElementTable ------------------------------------------------------------

Place ElementTable::find(std::string_view key) const {
  const std::uint32_t hash = hash_of(key);
  return index_.find(
      hash, [&](Place at) { return entries_[at].hash == hash && entries_[at].key.view() == key; });
}

void ElementTable::set(Blob key, Element value) {
  if (index_.left() == 0) rebuild(twice(size_));
  const std::uint32_t hash = hash_of(key.view());
  const Place next = static_cast<Place>(entries_.size());
  const Place place = index_.find_or_make(
      hash, next,
      [&](Place at) { return entries_[at].hash == hash && entries_[at].key.view() == key.view(); },
      [&] {
        entries_.push_back({std::move(key), std::move(value), hash, true});
      });
  if (place == next) {
    ++size_;
  } else {
    entries_[place].value = std::move(value);
  }
}

void ElementTable::reserve(std::size_t more) {
  more = std::min(more, std::max(3 * size_, believed));
  if (more > index_.left()) rebuild(size_ + more);
  entries_.reserve(entries_.size() + more);
}

void ElementTable::rebuild(std::size_t entries) {
  index_.reset(entries);
  std::erase_if(entries_, [](const Entry& entry) { return !entry.live; });
  for (std::size_t at = 0; at < entries_.size(); ++at) {
    index_.enter(entries_[at].hash, static_cast<Place>(at));
  }
}

void ElementTable::erase(Place place) {
  index_.erase(entries_[place].hash, place);
  entries_[place] = Entry();
  --size_;
  while (!entries_.empty() && !entries_.back().live) entries_.pop_back();
  if (size_ == 0) *this = {};
}

// --- DictTable ---------------------------------------------------------------

std::optional<Place> DictTable::find(std::string_view key) const {
  const Place place = numbers_ ? numbers_->find(key) : elements_.find(key);
  if (place == PlaceIndex::none) return std::nullopt;
  return place;
}

// A table that is empty is of what comes next.
bool DictTable::takes_numbers(std::size_t key_size, std::size_t value_size) {
  if (numbers_ && numbers_->has_sizes(key_size, value_size)) return true;
  if (size() != 0 || !NumberTable::is_for(key_size, value_size)) return false;
  numbers_.emplace(key_size, value_size);
  elements_ = {};
  return true;
}

void DictTable::become_elements() {
  if (!numbers_) return;
  ElementTable all;
  numbers_->for_each([&](Place at) {
    all.set(Blob(numbers_->key(at)), Element{Blob(numbers_->value(at)), {}});
  });
  elements_ = std::move(all);
  numbers_.reset();
}

void DictTable::set(Blob key, Element value) {
  const auto key_bytes = key.view();
  const auto value_bytes = value.bytes.view();
  if (!value.references && takes_numbers(key_bytes.size(), value_bytes.size())) {
    return numbers_->set(key_bytes, value_bytes);
  }
  become_elements();
  elements_.set(std::move(key), std::move(value));
}

void DictTable::set_numbers(std::span<const std::byte> rows, std::size_t key_size,
                            std::size_t value_size, Bytes* memory) {
  const std::size_t row_size = key_size + value_size;
  if (takes_numbers(key_size, value_size)) {
    const std::size_t count = rows.size() / row_size;
    if (memory == nullptr || size() != 0) return numbers_->set_rows(rows.data(), count);
    const auto begin = static_cast<std::size_t>(rows.data() - memory->data());
    return numbers_->adopt(std::move(*memory), begin, count);
  }
  become_elements();
  const std::string_view all(reinterpret_cast<const char*>(rows.data()), rows.size());
  for (std::size_t at = 0; at < all.size(); at += row_size) {
    elements_.set(Blob(all.substr(at, key_size)),
                  Element{Blob(all.substr(at + key_size, value_size)), {}});
  }
}

void DictTable::reserve(std::size_t count) {
  if (count <= size()) return;
  numbers_ ? numbers_->reserve(count - size()) : elements_.reserve(count - size());
}

void DictTable::erase(Place place) { numbers_ ? numbers_->erase(place) : elements_.erase(place); }

}  // namespace mp::detail
