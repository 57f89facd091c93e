#pragma once

#include <cstdint>
#include <memory>
#include <ranges>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "mp/detail/indexed_proxy.hpp"

namespace mp {

/// A set in the server. Its elements are equal when their bytes are. What |, &,
/// - and ^ make, and what copy() returns, is a std::set of one's own. The
/// operators stand for update(), union() and the like as well; what compares
/// two sets is asked of a copy(). Python (from 3.14): SetProxy.
template <class T>
class SetProxy : public BaseProxy {
 public:
  using value_type = T;
  explicit SetProxy(std::shared_ptr<detail::ProxyState> state)
      : BaseProxy(std::move(state), {"set"}, detail::signature<T>) {}
  static SetProxy unpickle(Decoder& in) { return SetProxy(detail::ProxyState::unpickle(in)); }

  void add(const T& value) const { *this |= std::span(&value, 1); }
  void discard(const T& value) const { *this -= std::span(&value, 1); }
  /// Throws KeyError if it is not there.
  void remove(const T& value) const {
    auto call = request("pop");
    detail::put_element(call.args(), value, server());
    if (!call.result().template number<bool>()) throw KeyError(detail::python_text(value));
  }
  /// One of them; KeyError if there is none.
  T pop() const {
    auto call = request("popitem");
    T value = detail::take_element<T>(call.result(), server());
    return value;
  }
  void clear() const { request("clear").finish(); }
  [[nodiscard]] bool contains(const T& value) const {
    auto call = request("contains");
    detail::put_element(call.args(), value, server());
    return call.result().template number<bool>();
  }
  [[nodiscard]] std::size_t size() const {
    auto call = request("len");
    return call.result().template number<std::uint64_t>();
  }
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] std::set<T> copy() const {
    auto call = request("keys");
    const auto all = detail::take_elements<T>(call.result(), server());
    return {all.begin(), all.end()};
  }
  [[nodiscard]] std::set<T> getvalue() const { return copy(); }

  /// In the server, each in one message.
  template <std::ranges::sized_range Values>
  const SetProxy& operator|=(const Values& values) const {
    auto call = request("update");
    call.args().template number<std::uint64_t>(std::ranges::size(values));
    for (const auto& value : values) {
      detail::put_element<T>(call.args(), value, server());
      call.args().number(std::uint32_t{0});  // An element of no bytes.
    }
    call.finish();
    return *this;
  }
  template <std::ranges::sized_range Values>
  const SetProxy& operator-=(const Values& values) const {
    return change("erase_many", values);
  }
  template <std::ranges::sized_range Values>
  const SetProxy& operator&=(const Values& values) const {
    return change("retain", values);
  }
  /// Each of `values` once, however often it comes.
  const SetProxy& operator^=(const std::set<T>& values) const { return change("toggle", values); }

  friend std::set<T> operator|(const SetProxy& a, const std::set<T>& b) {
    auto result = a.copy();
    result.insert(b.begin(), b.end());
    return result;
  }
  friend std::set<T> operator&(const SetProxy& a, const std::set<T>& b) {
    return filtered(a.copy(), [&](const T& value) { return b.contains(value); });
  }
  friend std::set<T> operator-(const SetProxy& a, const std::set<T>& b) {
    return filtered(a.copy(), [&](const T& value) { return !b.contains(value); });
  }
  friend std::set<T> operator^(const SetProxy& a, const std::set<T>& b) {
    auto result = a - b;
    const auto all = a.copy();
    for (const T& value : b) {
      if (!all.contains(value)) result.insert(value);
    }
    return result;
  }

  /// A loop runs over a copy, taken when it begins.
  using Iterator = detail::OwningIterator<T>;
  [[nodiscard]] Iterator begin() const {
    auto call = request("keys");
    return Iterator(detail::take_elements<T>(call.result(), server()));
  }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

  [[nodiscard]] std::string repr() const { return describe("SetProxy"); }
  [[nodiscard]] std::string str() const {
    const auto all = copy();
    return all.empty() ? "set()" : detail::python_text(all);
  }

 private:
  template <class Values>
  const SetProxy& change(const char* method, const Values& values) const {
    auto call = request(method);
    call.args().template number<std::uint64_t>(std::ranges::size(values));
    for (const auto& value : values) detail::put_element<T>(call.args(), value, server());
    call.finish();
    return *this;
  }
  template <class Predicate>
  static std::set<T> filtered(std::set<T> values, Predicate keep) {
    std::erase_if(values, [&](const T& value) { return !keep(value); });
    return values;
  }
};

}  // namespace mp
