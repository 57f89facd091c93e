#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <functional>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "mp/detail/callable.hpp"
#include "mp/detail/heap.hpp"
#include "mp/detail/lockable.hpp"
#include "mp/pickle.hpp"
#include "mp/synchronize.hpp"

/// What Value and Array are made of.
namespace mp {

struct NoLock;

namespace detail {

template <class T>
inline constexpr bool is_reference_wrapper = false;
template <class T>
inline constexpr bool is_reference_wrapper<std::reference_wrapper<T>> = true;

/// Read and written in one piece by the processor.
template <class T>
inline constexpr bool is_word = sizeof(T) <= 8 && std::has_single_bit(sizeof(T));

template <class T>
void require_shareable() {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>,
                "mp: only what may be copied as bytes can be shared between processes: numbers, "
                "enums, and structs and std::arrays of them, but no std::string or container");
  static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T> &&
                    !std::is_null_pointer_v<T> && !View<T> && !is_reference_wrapper<T>,
                "mp: a pointer or a view means nothing in another process");
  static_assert(alignof(T) <= 64, "mp: shared memory is aligned to 64 bytes");
}

/// A block that holds `count` copies of what is at `from`; zeroed if that is null.
template <class T>
SharedBlock new_shared(const T* from, std::size_t count) {
  require_shareable<T>();
  if (count > std::size_t{PTRDIFF_MAX} / sizeof(T)) throw ValueError("no memory is that large");
  auto block = SharedBlock::allocate(count * sizeof(T));
  if (from != nullptr) std::uninitialized_copy_n(from, count, block.template as<T>());
  return block;
}

/// Throws ValueError for a negative length.
std::size_t checked_length(std::ptrdiff_t length);
/// A negative index counts from the end. Throws IndexError outside.
std::size_t checked_index(std::ptrdiff_t index, std::size_t size);
/// As Python cuts a sequence: what is outside is left out.
std::pair<std::size_t, std::size_t> checked_slice(std::ptrdiff_t start, std::ptrdiff_t stop,
                                                  std::size_t size);

/// The lock of a Value or an Array: an RLock, a Lock or none.
class ValueLock : public Lockable<ValueLock> {
 public:
  ValueLock(RLock lock) : lock_(std::move(lock)) {}  // NOLINT: a lock is a choice of lock.
  ValueLock(Lock lock) : lock_(std::move(lock)) {}   // NOLINT
  ValueLock(const NoLock&) {}                        // NOLINT

  bool acquire(Timeout timeout = {}) const;
  using Lockable<ValueLock>::acquire;
  void release() const;
  [[nodiscard]] bool locked() const;
  [[nodiscard]] std::string repr() const;

  [[nodiscard]] bool exists() const noexcept { return lock_.index() != 0; }
  /// Throws AttributeError if there is no lock.
  [[nodiscard]] const ValueLock& required() const;

  void pickle(Encoder& out) const;
  static ValueLock unpickle(Decoder& in);
  friend bool operator==(const ValueLock& a, const ValueLock& b) noexcept {
    return a.lock_ == b.lock_;
  }

 private:
  std::variant<std::monostate, RLock, Lock> lock_;
};

template <class L>
concept ValueLockChoice = std::same_as<L, RLock> || std::same_as<L, Lock> ||
    std::same_as<L, NoLock> || std::same_as<L, ValueLock>;

/// What has a lock is itself a lockable: the lock's calls, each of which throws
/// AttributeError if there is none.
template <class Derived>
class LockableByItsLock : public Lockable<Derived> {
 public:
  bool acquire(Timeout timeout = {}) const { return its_lock().acquire(timeout); }
  using Lockable<Derived>::acquire;
  void release() const { its_lock().release(); }

 private:
  [[nodiscard]] const ValueLock& its_lock() const {
    return static_cast<const Derived&>(*this).get_lock();
  }
};

/// Holds the lock, if there is one, for a scope. OwnerDied leaves it free: the
/// caller of one update did not ask for a lock to keep.
class ValueLockGuard {
 public:
  explicit ValueLockGuard(const ValueLock& lock) : ValueLockGuard(&lock) {}
  explicit ValueLockGuard(const ValueLock* lock);
  ValueLockGuard(const ValueLockGuard&) = delete;
  ValueLockGuard& operator=(const ValueLockGuard&) = delete;
  ~ValueLockGuard() {
    if (lock_ != nullptr) lock_->release();
  }

 private:
  const ValueLock* lock_;
};

/// A T's members under its lock, for the length of one expression.
template <class T>
class LockedPointer {
 public:
  LockedPointer(T* at, const ValueLock& lock) : guard_(lock), at_(at) {}
  T* operator->() const noexcept { return at_; }

 private:
  ValueLockGuard guard_;
  T* at_;
};

/// Stands for a T in shared memory as `T&` would, but each read and each write
/// is one access of its own: a relaxed load or store where T is a word, else a
/// copy, under the lock if there is one. Relaxed: the value itself is never
/// torn, but says nothing about other memory; locks do.
template <class T>
class ValueRef {
 public:
  ValueRef() = default;
  ValueRef(T* at, const ValueLock* lock) noexcept : at_(at), lock_(lock) {}
  ValueRef(const ValueRef&) = default;
  ~ValueRef() = default;

  [[nodiscard]] T get() const {
    if constexpr (is_word<T>) {
      return std::atomic_ref<T>(*at_).load(std::memory_order_relaxed);
    } else {
      const ValueLockGuard guard(lock_);
      return *at_;
    }
  }
  void set(const T& value) const {
    if constexpr (is_word<T>) {
      std::atomic_ref<T>(*at_).store(value, std::memory_order_relaxed);
    } else {
      const ValueLockGuard guard(lock_);
      *at_ = value;
    }
  }

  operator T() const { return get(); }  // NOLINT: stands for a T.
  const ValueRef& operator=(const T& value) const {
    set(value);
    return *this;
  }
  // Of values: what the reference stands for does not change.
  ValueRef& operator=(const ValueRef& other) {
    set(other.get());
    return *this;
  }

  template <class U>
  const ValueRef& operator+=(const U& by) const {
    return *this = static_cast<T>(get() + by);
  }
  template <class U>
  const ValueRef& operator-=(const U& by) const {
    return *this = static_cast<T>(get() - by);
  }
  template <class U>
  const ValueRef& operator*=(const U& by) const {
    return *this = static_cast<T>(get() * by);
  }
  template <class U>
  const ValueRef& operator/=(const U& by) const {
    return *this = static_cast<T>(get() / by);
  }
  template <class U>
  const ValueRef& operator%=(const U& by) const {
    return *this = static_cast<T>(get() % by);
  }
  template <class U>
  const ValueRef& operator|=(const U& by) const {
    return *this = static_cast<T>(get() | by);
  }
  template <class U>
  const ValueRef& operator&=(const U& by) const {
    return *this = static_cast<T>(get() & by);
  }
  template <class U>
  const ValueRef& operator^=(const U& by) const {
    return *this = static_cast<T>(get() ^ by);
  }
  const ValueRef& operator++() const { return *this += 1; }
  const ValueRef& operator--() const { return *this -= 1; }
  T operator++(int) const {
    const T seen = get();
    set(static_cast<T>(seen + 1));
    return seen;
  }
  T operator--(int) const {
    const T seen = get();
    set(static_cast<T>(seen - 1));
    return seen;
  }

  /// For its owner: what it stands for.
  void bind(T* at, const ValueLock* lock) noexcept {
    at_ = at;
    lock_ = lock;
  }

 private:
  T* at_ = nullptr;
  const ValueLock* lock_ = nullptr;
};

template <class T>
requires requires(std::ostream& out, const T& value) { out << value; }
std::ostream& operator<<(std::ostream& out, const ValueRef<T>& ref) { return out << ref.get(); }

/// ctypes' name for a C++ type; a struct's own for the rest.
template <class T>
std::string ctype_name() {
  if constexpr (std::same_as<T, bool>) return "c_bool";
  if constexpr (std::same_as<T, char>) return "c_char";
  if constexpr (std::same_as<T, wchar_t>) return "c_wchar";
  if constexpr (std::same_as<T, signed char>) return "c_byte";
  if constexpr (std::same_as<T, unsigned char>) return "c_ubyte";
  if constexpr (std::same_as<T, short>) return "c_short";
  if constexpr (std::same_as<T, unsigned short>) return "c_ushort";
  if constexpr (std::same_as<T, int>) return "c_int";
  if constexpr (std::same_as<T, unsigned>) return "c_uint";
  if constexpr (std::same_as<T, long>) return "c_long";
  if constexpr (std::same_as<T, unsigned long>) return "c_ulong";
  if constexpr (std::same_as<T, long long>) return "c_longlong";
  if constexpr (std::same_as<T, unsigned long long>) return "c_ulonglong";
  if constexpr (std::same_as<T, float>) return "c_float";
  if constexpr (std::same_as<T, double>) return "c_double";
  if constexpr (std::same_as<T, long double>) return "c_longdouble";
  return type_name(typeid(T));
}

/// `c_int(7)`; `Point(...)` for what has no text.
template <class T>
std::string value_text(const T& value) {
  if constexpr (std::same_as<T, char>) {
    return fmt::format("{}('{}')", ctype_name<T>(), value);
  } else if constexpr (std::is_arithmetic_v<T> && fmt::is_formattable<T>::value) {
    return fmt::format("{}({})", ctype_name<T>(), value);
  } else {
    return ctype_name<T>() + "(...)";
  }
}

}  // namespace detail
}  // namespace mp

template <class T>
struct fmt::formatter<mp::detail::ValueRef<T>> : fmt::formatter<T> {
  template <class Context>
  auto format(const mp::detail::ValueRef<T>& ref, Context& context) const {
    return fmt::formatter<T>::format(ref.get(), context);
  }
};
