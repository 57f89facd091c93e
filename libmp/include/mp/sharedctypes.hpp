#pragma once

#include <atomic>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <mutex>
#include <ostream>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "mp/detail/heap.hpp"
#include "mp/detail/value_ref.hpp"
#include "mp/errors.hpp"
#include "mp/pickle.hpp"
#include "mp/synchronize.hpp"

/// Values and arrays in shared memory. Python: multiprocessing.sharedctypes.
///
/// Handles, as locks are: copies and what a child gets as an argument are the
/// same memory. T is copied as bytes and read by programs that map the memory
/// elsewhere: numbers, enums, and structs and std::arrays of them. Making one
/// throws std::system_error where the system has no memory or descriptor for it;
/// but memory is taken when it is touched, and where there is none left by then,
/// the system ends the program.
///
/// Whatever takes an object's lock for the length of a call throws OwnerDied where
/// the lock's holder has ended; then nothing was done, and, other than after
/// acquire(), the lock is free again.
namespace mp {

/// For a Value or an Array without a lock. Python: lock=False.
struct NoLock {};
inline constexpr NoLock no_lock{};

/// A T without a lock.
///
/// `v.value` reads and writes it: where T is a number or as small as one, each
/// read and each write is whole (a relaxed load, a relaxed store), and
/// `v.value += 1` is one of each, so that updates by several at once get lost
/// as they do in Python. Larger Ts may be seen half written. `auto x = v.value`
/// is no copy, it stands for the value, too: `int x = v.value` is one.
template <class T>
class RawValue {
 public:
  explicit RawValue(const T& initial = T()) : RawValue(detail::new_shared<T>(&initial, 1)) {}
  RawValue(const RawValue& other) : RawValue(other.block_) {}
  RawValue& operator=(const RawValue& other) {
    block_ = other.block_;
    value.bind(block_.as<T>(), nullptr);
    return *this;
  }
  ~RawValue() = default;

  detail::ValueRef<T> value;

  /// The memory itself, for a T's members: `p->x`.
  T* operator->() const noexcept { return block_.template as<T>(); }

  /// `value = function(value)`, whole: nobody else's update is lost by it.
  /// Returns what it was. `function` may be called more than once.
  template <class Function>
  T update(Function function) const {
    static_assert(detail::is_word<T>, "a T this large needs a lock to be updated: Value<T>");
    std::atomic_ref<T> word(*block_.template as<T>());
    T seen = word.load(std::memory_order_relaxed);
    while (!word.compare_exchange_weak(seen, function(std::as_const(seen)))) {
    }
    return seen;
  }
  T fetch_add(T more) const {
    return update([&](T seen) { return static_cast<T>(seen + more); });
  }

  /// `c_int(7)`.
  [[nodiscard]] std::string repr() const { return detail::value_text(value.get()); }

  void pickle(Encoder& out) const { detail::pickle_shared(out, 'v', block_); }
  static RawValue unpickle(Decoder& in) {
    return RawValue(detail::unpickle_shared(in, 'v', sizeof(T)));
  }

 private:
  explicit RawValue(detail::SharedBlock block) : block_(std::move(block)) {
    value.bind(block_.as<T>(), nullptr);
  }
  detail::SharedBlock block_;
};

/// A T with a lock: an RLock of its own, a lock that is given, or none.
///
/// `v.value = 1` of a number takes no lock, and waits for none that another holds;
/// `v.value += 1` takes none between its read and its write. Right under
/// concurrency: `v.fetch_add(1)`, `v.update(f)`, or the lock held around it:
///
///     std::scoped_lock guard(v.get_lock());
///     v.value += 1;
template <class T>
class Value : public detail::LockableByItsLock<Value<T>> {
 public:
  explicit Value(const T& initial = T()) : Value(RawValue<T>(initial), RLock()) {}
  template <detail::ValueLockChoice L>
  Value(const T& initial, const L& lock) : Value(RawValue<T>(initial), lock) {}
  /// What is shared already, with a lock. Python: synchronized().
  template <detail::ValueLockChoice L>
  Value(const RawValue<T>& raw, const L& lock) : raw_(raw), lock_(lock) {
    value.bind(raw_.operator->(), &lock_);
  }
  Value(const Value& other)
      : detail::LockableByItsLock<Value<T>>(), raw_(other.raw_), lock_(other.lock_) {
    value.bind(raw_.operator->(), &lock_);
  }
  Value& operator=(const Value& other) {
    raw_ = other.raw_;
    lock_ = other.lock_;
    value.bind(raw_.operator->(), &lock_);
    return *this;
  }
  ~Value() = default;

  /// As RawValue's; a T larger than a number is read and written under the lock.
  detail::ValueRef<T> value;

  /// `p->x = 1` under the lock, held to the end of the expression.
  auto operator->() const { return detail::LockedPointer<T>(raw_.operator->(), lock_); }

  /// `value = function(value)` under the lock. Returns what it was.
  template <class Function>
  T update(Function function) const {
    const detail::ValueLockGuard guard(lock_);
    const T seen = raw_.value.get();
    raw_.value.set(function(seen));
    return seen;
  }
  T fetch_add(T more) const {
    return update([&](T seen) { return static_cast<T>(seen + more); });
  }

  /// For std::scoped_lock. Throws AttributeError if there is none.
  [[nodiscard]] const detail::ValueLock& get_lock() const { return lock_.required(); }
  /// The T without its lock.
  [[nodiscard]] RawValue<T> get_obj() const { return raw_; }

  /// `<Synchronized wrapper for c_int(7)>`.
  [[nodiscard]] std::string repr() const {
    return "<Synchronized wrapper for " + raw_.repr() + '>';
  }

  void pickle(Encoder& out) const {
    raw_.pickle(out);
    lock_.pickle(out);
  }
  static Value unpickle(Decoder& in) {
    auto raw = RawValue<T>::unpickle(in);
    return Value(raw, detail::ValueLock::unpickle(in));
  }

 private:
  RawValue<T> raw_;
  detail::ValueLock lock_;
};

/// A number of Ts, fixed when it is made, without a lock.
///
/// `a[i]` is checked (IndexError), counts from the end when negative, and
/// reads and writes as RawValue's `value` does. As a range it is plain,
/// contiguous memory, without checks and for one at a time.
template <class T>
class RawArray {
 public:
  using value_type = T;

  /// Zeroed. Throws ValueError for a negative length.
  explicit RawArray(std::ptrdiff_t length)
      : RawArray(detail::new_shared<T>(nullptr, detail::checked_length(length)),
                 detail::checked_length(length)) {}
  RawArray(std::initializer_list<T> contents)
      : RawArray(detail::new_shared<T>(contents.begin(), contents.size()), contents.size()) {}
  template <std::ranges::input_range Range>
  requires(
      !std::same_as<std::remove_cvref_t<Range>, RawArray> &&
      std::convertible_to<std::ranges::range_value_t<Range>, T>) explicit RawArray(Range&& from)
      : RawArray(std::vector<T>(std::ranges::begin(from), std::ranges::end(from)), 0) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] T* data() const noexcept { return block_.template as<T>(); }
  [[nodiscard]] T* begin() const noexcept { return data(); }
  [[nodiscard]] T* end() const noexcept { return data() + size_; }

  detail::ValueRef<T> operator[](std::ptrdiff_t index) const {
    return {data() + detail::checked_index(index, size_), nullptr};
  }
  [[nodiscard]] T at(std::ptrdiff_t index) const { return (*this)[index].get(); }

  /// A copy of `a[start:stop]`, as Python cuts it: never out of bounds.
  [[nodiscard]] std::vector<T> slice(std::ptrdiff_t start, std::ptrdiff_t stop) const {
    const auto [first, last] = detail::checked_slice(start, stop, size_);
    return {begin() + first, begin() + last};
  }
  [[nodiscard]] std::vector<T> to_vector() const { return {begin(), end()}; }

  /// `a[start:start+n] = from`. Throws ValueError, and writes nothing, if that does not fit.
  void assign(std::span<const T> from, std::size_t start = 0) const {
    if (start > size_ || from.size() > size_ - start) {
      throw ValueError("Can only assign sequence of same size");
    }
    std::copy(from.begin(), from.end(), begin() + start);
  }
  void assign(std::initializer_list<T> from, std::size_t start = 0) const {
    assign(std::span<const T>(from.begin(), from.size()), start);
  }

  /// Of an array of char: the text up to the first NUL, and all of it.
  [[nodiscard]] std::string value() const requires std::same_as<T, char> {
    return {begin(), std::find(begin(), end(), '\0')};
  }
  [[nodiscard]] std::string raw() const requires std::same_as<T, char> { return {begin(), end()}; }
  /// Writes the text, and a NUL behind it where there is room. Throws ValueError if it is longer.
  void set_value(std::string_view text) const requires std::same_as<T, char> {
    assign(std::span<const char>(text));
    if (text.size() < size_) *(begin() + text.size()) = '\0';
  }

  /// `c_int_Array_10`.
  [[nodiscard]] std::string repr() const {
    return fmt::format("{}_Array_{}", detail::ctype_name<T>(), size_);
  }

  void pickle(Encoder& out) const {
    detail::pickle_shared(out, 'a', block_);
    out.number<std::uint64_t>(size_);
  }
  static RawArray unpickle(Decoder& in) {
    auto block = detail::unpickle_shared(in, 'a', 0);
    const auto size = in.number<std::uint64_t>();
    if (size > block.size() / sizeof(T)) Decoder::malformed("an array larger than its memory");
    return RawArray(std::move(block), size);
  }

 private:
  RawArray(detail::SharedBlock block, std::size_t size) : block_(std::move(block)), size_(size) {}
  RawArray(const std::vector<T>& contents, int)
      : RawArray(detail::new_shared<T>(contents.data(), contents.size()), contents.size()) {}

  detail::SharedBlock block_;
  std::size_t size_;
};

/// A number of Ts with a lock, as Value has one.
///
/// slice(), to_vector(), assign() and update() hold the lock; `a[i]` does not
/// but for large Ts; loops over the range do not: hold get_lock() around them.
template <class T>
class Array : public detail::LockableByItsLock<Array<T>> {
 public:
  using value_type = T;

  explicit Array(std::ptrdiff_t length) : Array(RawArray<T>(length), RLock()) {}
  Array(std::initializer_list<T> contents) : Array(RawArray<T>(contents), RLock()) {}
  template <std::ranges::input_range Range>
  requires(!std::same_as<std::remove_cvref_t<Range>, Array> &&
           std::convertible_to<std::ranges::range_value_t<Range>, T>) explicit Array(Range&& from)
      : Array(copy_of(std::forward<Range>(from)), RLock()) {}
  template <detail::ValueLockChoice L>
  Array(std::ptrdiff_t length, const L& lock) : Array(RawArray<T>(length), lock) {}
  template <detail::ValueLockChoice L>
  Array(std::initializer_list<T> contents, const L& lock) : Array(RawArray<T>(contents), lock) {}
  template <std::ranges::input_range Range, detail::ValueLockChoice L>
  requires(!std::same_as<std::remove_cvref_t<Range>, RawArray<T>> &&
           std::convertible_to<std::ranges::range_value_t<Range>, T>)
      Array(Range&& from, const L& lock)
      : Array(RawArray<T>(std::forward<Range>(from)), lock) {}
  /// What is shared already, with a lock. Python: synchronized().
  template <detail::ValueLockChoice L>
  Array(RawArray<T> raw, const L& lock) : raw_(std::move(raw)), lock_(lock) {}

  [[nodiscard]] std::size_t size() const noexcept { return raw_.size(); }
  [[nodiscard]] bool empty() const noexcept { return raw_.empty(); }
  [[nodiscard]] T* data() const noexcept { return raw_.data(); }
  [[nodiscard]] T* begin() const noexcept { return raw_.begin(); }
  [[nodiscard]] T* end() const noexcept { return raw_.end(); }

  /// Good for as long as this handle is.
  detail::ValueRef<T> operator[](std::ptrdiff_t index) const {
    return {data() + detail::checked_index(index, size()), &lock_};
  }
  [[nodiscard]] T at(std::ptrdiff_t index) const { return (*this)[index].get(); }

  [[nodiscard]] std::vector<T> slice(std::ptrdiff_t start, std::ptrdiff_t stop) const {
    const detail::ValueLockGuard guard(lock_);
    return raw_.slice(start, stop);
  }
  [[nodiscard]] std::vector<T> to_vector() const {
    const detail::ValueLockGuard guard(lock_);
    return raw_.to_vector();
  }
  void assign(std::span<const T> from, std::size_t start = 0) const {
    const detail::ValueLockGuard guard(lock_);
    raw_.assign(from, start);
  }
  void assign(std::initializer_list<T> from, std::size_t start = 0) const {
    assign(std::span<const T>(from.begin(), from.size()), start);
  }
  /// `a[index] = function(a[index])` under the lock. Returns what it was.
  template <class Function>
  T update(std::ptrdiff_t index, Function function) const {
    const detail::ValueLockGuard guard(lock_);
    const auto element = raw_[index];
    const T seen = element.get();
    element.set(function(seen));
    return seen;
  }

  [[nodiscard]] std::string value() const requires std::same_as<T, char> {
    const detail::ValueLockGuard guard(lock_);
    return raw_.value();
  }
  [[nodiscard]] std::string raw() const requires std::same_as<T, char> {
    const detail::ValueLockGuard guard(lock_);
    return raw_.raw();
  }
  void set_value(std::string_view text) const requires std::same_as<T, char> {
    const detail::ValueLockGuard guard(lock_);
    raw_.set_value(text);
  }

  [[nodiscard]] const detail::ValueLock& get_lock() const { return lock_.required(); }
  [[nodiscard]] RawArray<T> get_obj() const { return raw_; }

  /// `<SynchronizedArray wrapper for c_int_Array_10>`.
  [[nodiscard]] std::string repr() const {
    return fmt::format("<Synchronized{} wrapper for {}>",
                       std::same_as<T, char> ? "String" : "Array", raw_.repr());
  }

  void pickle(Encoder& out) const {
    raw_.pickle(out);
    lock_.pickle(out);
  }
  static Array unpickle(Decoder& in) {
    auto raw = RawArray<T>::unpickle(in);
    return Array(std::move(raw), detail::ValueLock::unpickle(in));
  }

 private:
  template <class Range>
  static RawArray<T> copy_of(Range&& from) {
    if constexpr (std::same_as<std::remove_cvref_t<Range>, RawArray<T>>) {
      return RawArray<T>(from.to_vector());
    } else {
      return RawArray<T>(std::forward<Range>(from));
    }
  }

  RawArray<T> raw_;
  detail::ValueLock lock_;
};

/// A new shared object with the same contents and no lock. Python: copy.
template <class T>
RawValue<T> copy(const RawValue<T>& from) {
  return RawValue<T>(from.value.get());
}
template <class T>
RawValue<T> copy(const Value<T>& from) {
  return RawValue<T>(from.value.get());
}
template <class T>
RawArray<T> copy(const RawArray<T>& from) {
  return RawArray<T>(from.to_vector());
}
template <class T>
RawArray<T> copy(const Array<T>& from) {
  return RawArray<T>(from.to_vector());
}

/// The same memory, with a lock from now on for those who use what this returns.
template <class T, detail::ValueLockChoice L = RLock>
Value<T> synchronized(const RawValue<T>& raw, const L& lock = L()) {
  return Value<T>(raw, lock);
}
template <class T, detail::ValueLockChoice L = RLock>
Array<T> synchronized(const RawArray<T>& raw, const L& lock = L()) {
  return Array<T>(raw, lock);
}

namespace detail {

template <class>
inline constexpr bool is_shared_object = false;
template <class T>
inline constexpr bool is_shared_object<RawValue<T>> = true;
template <class T>
inline constexpr bool is_shared_object<Value<T>> = true;
template <class T>
inline constexpr bool is_shared_object<RawArray<T>> = true;
template <class T>
inline constexpr bool is_shared_object<Array<T>> = true;

}  // namespace detail

template <class T>
requires detail::is_shared_object<T> std::ostream& operator<<(std::ostream& out, const T& object) {
  return out << object.repr();
}

}  // namespace mp

template <class T>
requires mp::detail::is_shared_object<T>
struct fmt::formatter<T> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const T& object, Context& context) const {
    return fmt::formatter<std::string>::format(object.repr(), context);
  }
};
