#pragma once

#include <fmt/format.h>
#include <concepts>
#include <ostream>
#include <type_traits>
#include <utility>

#include "mp/base_proxy.hpp"

/// Places in managed objects.
namespace mp {

template <class T>
class ValueProxy;

namespace detail {

struct PlusAssign {
  template <class T, class U>
  void operator()(T& value, const U& other) const {
    value += other;
  }
};

}  // namespace detail

/// `proxy[key]`: a place in a managed object. Reading it takes a copy; what
/// writes it is one message. There is no reference to the element itself, so
/// nothing can be changed behind the server's back.
template <class T, class Owner, class Key>
class ManagedElement {
 public:
  ManagedElement(Owner owner, Key key) : owner_(std::move(owner)), key_(std::move(key)) {}
  ManagedElement(const ManagedElement&) = default;

  /// A copy.
  [[nodiscard]] T get() const { return owner_.get_at(key_); }
  operator T() const { return get(); }  // NOLINT: as an element converts to its value.

  const ManagedElement& operator=(const T& value) const {
    owner_.set_at(key_, value);
    return *this;
  }
  const ManagedElement& operator=(const ManagedElement& other) const { return *this = other.get(); }

  /// One step in the server: no update is lost.
  template <class U>
  requires(detail::ManagedNumber<T> ||
           requires(T & value, const U& other) { value += other; }) const ManagedElement&
  operator+=(const U& other) const {
    if constexpr (detail::ManagedNumber<T>) {
      owner_.template calculate<T>(key_, '+', static_cast<T>(other));
    } else {
      update(detail::PlusAssign(), other);
    }
    return *this;
  }
  const ManagedElement& operator-=(T other) const requires detail::ManagedNumber<T> {
    owner_.template calculate<T>(key_, '-', other);
    return *this;
  }
  const ManagedElement& operator*=(T other) const requires detail::ManagedNumber<T> {
    owner_.template calculate<T>(key_, '*', other);
    return *this;
  }
  /// The new value.
  T operator++() const requires detail::ManagedNumber<T> {
    return owner_.template calculate<T>(key_, '+', T{1});
  }
  T operator--() const requires detail::ManagedNumber<T> {
    return owner_.template calculate<T>(key_, '-', T{1});
  }

  /// `fn(T&, args...)` in the server, as one step; what it returns.
  template <class Function, class... Args>
  auto update(Function fn, const Args&... args) const {
    return owner_.update_at(key_, fn, args...);
  }

  /// Into an element that is itself a proxy: `outer["a"]["b"] = 1`.
  template <class Inner>
  auto operator[](const Inner& key) const requires std::derived_from<T, BaseProxy> {
    return get()[key];
  }

  template <class U>
  requires std::is_convertible_v<const U&, T>
  friend bool operator==(const ManagedElement& a, const U& b) {
    return a.get() == static_cast<T>(b);
  }
  friend std::ostream& operator<<(std::ostream& out, const ManagedElement& element) requires
      requires(const T& value) {
    out << value;
  }
  { return out << element.get(); }

 private:
  template <class>
  friend class ValueProxy;
  // Makes it the place that `other` is; nothing is written.
  void refer_to(const ManagedElement& other) {
    owner_ = other.owner_;
    key_ = other.key_;
  }

  Owner owner_;
  Key key_;
};

}  // namespace mp

template <class T, class Owner, class Key>
struct fmt::formatter<mp::ManagedElement<T, Owner, Key>> : fmt::formatter<T> {
  template <class Context>
  auto format(const mp::ManagedElement<T, Owner, Key>& element, Context& context) const {
    return fmt::formatter<T>::format(element.get(), context);
  }
};
