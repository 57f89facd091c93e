#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mp/detail/indexed_proxy.hpp"
#include "mp/managed_element.hpp"

/// Lists, arrays and single values that live in a manager's server.
namespace mp {
namespace detail {

// Stable, as Python's sort is; and a comparison that contradicts itself makes
// std::sort leave the vector, but a merge sort only another order.
struct SortAscending {
  template <class T>
  void operator()(std::vector<T>& values) const {
    std::stable_sort(values.begin(), values.end());
  }
};
template <class Compare>
struct SortBy {
  template <class T>
  void operator()(std::vector<T>& values) const {
    std::stable_sort(values.begin(), values.end(), Compare());
  }
};

/// What lists and arrays share. Positions count from 0, negative ones from
/// the end; IndexError beyond. Slices are cut to what there is.
template <class T>
class SequenceProxy : public IndexedProxy<T> {
 public:
  using value_type = T;
  using Element = ManagedElement<T, IndexedProxy<T>, std::int64_t>;
  static constexpr std::int64_t end_of_list = std::numeric_limits<std::int64_t>::max();

  [[nodiscard]] Element operator[](std::int64_t index) const { return {*this, index}; }
  [[nodiscard]] T at(std::int64_t index) const { return this->get_at(index); }
  [[nodiscard]] std::size_t size() const {
    auto call = this->request("len");
    return call.result().template number<std::uint64_t>();
  }
  [[nodiscard]] bool empty() const { return size() == 0; }

  /// All elements, in one message. Python: _getvalue.
  [[nodiscard]] std::vector<T> getvalue() const {
    auto call = this->request("copy");
    return take_elements<T>(call.result(), this->server());
  }
  [[nodiscard]] std::vector<T> copy() const { return getvalue(); }
  /// Python's list[start:stop]: a copy. There are no steps, and no reversed():
  /// take a copy, which is a std::vector.
  [[nodiscard]] std::vector<T> slice(std::int64_t start, std::int64_t stop = end_of_list) const {
    auto call = this->request("slice", start, stop);
    return take_elements<T>(call.result(), this->server());
  }
  /// Those at `indices`, in their order, in one message.
  [[nodiscard]] std::vector<T> get_many(const std::vector<std::int64_t>& indices) const {
    auto call = this->request("get_many");
    encode(call.args(), indices);
    return take_elements<T>(call.result(), this->server());
  }
  /// Python's list[start:stop] = values; of another number of values in an
  /// array: ValueError.
  template <std::ranges::sized_range Values>
  void set_slice(std::int64_t start, std::int64_t stop, const Values& values) const {
    auto call = this->request("set_slice", start, stop);
    put_all(call, values);
    call.finish();
  }

  /// Where `value` is first; ValueError if it is not there. Elements are equal
  /// when their bytes are.
  [[nodiscard]] std::size_t index(const T& value, std::int64_t start = 0,
                                  std::int64_t stop = end_of_list) const {
    const auto found = find(value, start, stop);
    if (found < 0) throw ValueError(python_text(value) + " is not in list");
    return static_cast<std::size_t>(found);
  }
  [[nodiscard]] bool contains(const T& value) const { return find(value, 0, end_of_list) >= 0; }
  [[nodiscard]] std::size_t count(const T& value) const {
    auto call = this->request("count");
    put_element(call.args(), value, this->server());
    return call.result().template number<std::uint64_t>();
  }

  /// `fn(T&, args...)` on one element in the server, as one step.
  template <class Function, class... Args>
  auto update_item(std::int64_t index, Function fn, const Args&... args) const {
    return this->update_at(index, fn, args...);
  }

  /// A loop runs over a copy, taken when it begins.
  using Iterator = OwningIterator<T>;
  [[nodiscard]] Iterator begin() const { return Iterator(getvalue()); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

  /// The elements as Python writes a list: `['a', 'b']`.
  [[nodiscard]] std::string str() const { return python_text(getvalue()); }

 protected:
  using IndexedProxy<T>::IndexedProxy;

  template <class Values>
  void put_all(RemoteCall& call, const Values& values) const {
    call.args().template number<std::uint64_t>(std::ranges::size(values));
    for (const auto& value : values) put_element<T>(call.args(), value, this->server());
  }
  [[nodiscard]] std::int64_t find(const T& value, std::int64_t start, std::int64_t stop) const {
    auto call = this->request("index", start, stop);
    put_element(call.args(), value, this->server());
    return call.result().template number<std::int64_t>();
  }
};

}  // namespace detail

/// A list in the server. Python: ListProxy.
template <class T>
class ListProxy : public detail::SequenceProxy<T> {
  using Base = detail::SequenceProxy<T>;

 public:
  explicit ListProxy(std::shared_ptr<detail::ProxyState> state)
      : Base(std::move(state), {"list"}, detail::signature<T>) {}
  static ListProxy unpickle(Decoder& in) { return ListProxy(detail::ProxyState::unpickle(in)); }

  void append(const T& value) const {
    auto call = this->request("append");
    detail::put_element(call.args(), value, this->server());
    call.finish();
  }
  /// All of them in one message.
  template <std::ranges::sized_range Values>
  void extend(const Values& values) const {
    auto call = this->request("extend");
    this->put_all(call, values);
    call.finish();
  }
  void extend(std::initializer_list<T> values) const { extend(std::span(values)); }
  template <std::ranges::sized_range Values>
  const ListProxy& operator+=(const Values& values) const {
    extend(values);
    return *this;
  }
  void insert(std::int64_t index, const T& value) const {
    auto call = this->request("insert", index);
    detail::put_element(call.args(), value, this->server());
    call.finish();
  }
  /// Throws IndexError if there is nothing.
  T pop(std::int64_t index = -1) const {
    auto call = this->request("pop", index);
    return detail::take_element<T>(call.result(), this->server());
  }
  /// The first that equals `value`; ValueError if there is none.
  void remove(const T& value) const {
    auto call = this->request("remove");
    detail::put_element(call.args(), value, this->server());
    call.finish();
  }
  /// Python's del list[index]; IndexError if it is not there.
  void erase(std::int64_t index) const { pop(index); }
  /// Python's del list[start:stop].
  void erase(std::int64_t start, std::int64_t stop) const {
    this->request("erase", start, stop).finish();
  }
  void clear() const { this->request("clear").finish(); }
  void reverse() const { this->request("reverse").finish(); }
  /// In the server, as one step, by operator< or a comparison without captures;
  /// what compares equal keeps its order.
  void sort() const { apply(detail::SortAscending()); }
  template <class Compare>
  void sort(Compare) const {
    detail::require_stateless<Compare>();
    apply(detail::SortBy<Compare>());
  }
  /// Throws ValueError for more than 2^24 elements.
  const ListProxy& operator*=(std::int64_t times) const {
    this->request("multiply", times).finish();
    return *this;
  }
  /// What + and * make is a list of one's own, as in Python.
  template <std::ranges::sized_range Values>
  friend std::vector<T> operator+(const ListProxy& list, const Values& values) {
    auto result = list.getvalue();
    result.insert(result.end(), std::ranges::begin(values), std::ranges::end(values));
    return result;
  }
  friend std::vector<T> operator*(const ListProxy& list, std::int64_t times) {
    const auto once = list.getvalue();
    std::vector<T> result;
    for (; times > 0; --times) result.insert(result.end(), once.begin(), once.end());
    return result;
  }
  friend std::vector<T> operator*(std::int64_t times, const ListProxy& list) {
    return list * times;
  }

  /// `fn(std::vector<T>&, args...)` on the whole list in the server, as one step.
  template <class Function, class... Args>
  auto apply(Function, const Args&... args) const {
    detail::require_stateless<Function>();
    using detail::Stored;
    using Result = detail::AppliedResult<Function, std::vector<T>&, Stored<Args>&...>;
    auto call = this->request("apply");
    call.args().text(detail::applied_name<detail::ApplyToList<T, Function, Stored<Args>...>>());
    (detail::put_element<Stored<Args>>(call.args(), args, this->server()), ...);
    return detail::take_applied<Result>(call);
  }

  [[nodiscard]] std::string repr() const { return this->describe("ListProxy"); }
};

/// An array in the server: a list that keeps its size. Python: ArrayProxy.
template <class T>
class ArrayProxy : public detail::SequenceProxy<T> {
 public:
  explicit ArrayProxy(std::shared_ptr<detail::ProxyState> state)
      : detail::SequenceProxy<T>(std::move(state), {"Array"}, detail::signature<T>) {}
  static ArrayProxy unpickle(Decoder& in) { return ArrayProxy(detail::ProxyState::unpickle(in)); }
  [[nodiscard]] std::string repr() const { return this->describe("ArrayProxy"); }
};

/// One value in the server. Python: ValueProxy.
template <class T>
class ValueProxy : public detail::IndexedProxy<T> {
  using Base = detail::IndexedProxy<T>;

 public:
  explicit ValueProxy(std::shared_ptr<detail::ProxyState> state)
      : Base(std::move(state), {"Value"}, detail::signature<T>), value(*this, 0) {}
  static ValueProxy unpickle(Decoder& in) { return ValueProxy(detail::ProxyState::unpickle(in)); }
  ValueProxy(const ValueProxy&) = default;
  ~ValueProxy() = default;
  /// Refers to other's object from now on; no value changes.
  ValueProxy& operator=(const ValueProxy& other) {
    Base::operator=(other);
    value.refer_to(other.value);
    return *this;
  }

  /// `v.value = 3; v.value += 1; int x = v.value;`
  ManagedElement<T, Base, std::int64_t> value;
  [[nodiscard]] T get() const { return value.get(); }
  void set(const T& to) const { value = to; }
  /// `fn(T&, args...)` in the server, as one step.
  template <class Function, class... Args>
  auto update(Function fn, const Args&... args) const {
    return value.update(fn, args...);
  }

  [[nodiscard]] std::string repr() const { return this->describe("ValueProxy"); }
  [[nodiscard]] std::string str() const { return "Value(" + detail::python_text(get()) + ")"; }
};

}  // namespace mp
