#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mp/detail/indexed_proxy.hpp"
#include "mp/managed_element.hpp"

namespace mp {

/// A dict in the server, in the order in which keys came. Keys are equal when
/// their bytes are. Python: DictProxy. There is no fromkeys(): it makes a dict
/// from nothing but its arguments.
template <class K, class V>
class DictProxy : public BaseProxy {
 public:
  using key_type = K;
  using mapped_type = V;
  using Item = std::pair<K, V>;
  using Element = ManagedElement<V, DictProxy, K>;
  explicit DictProxy(std::shared_ptr<detail::ProxyState> state)
      : BaseProxy(std::move(state), {"dict"}, detail::signature<Item>) {}
  static DictProxy unpickle(Decoder& in) { return DictProxy(detail::ProxyState::unpickle(in)); }

  /// Reading a key that is not there throws KeyError; assigning makes it.
  [[nodiscard]] Element operator[](const K& key) const { return {*this, key}; }
  [[nodiscard]] V at(const K& key) const { return get_at(key); }
  [[nodiscard]] std::optional<V> get(const K& key) const { return optional("get", key); }
  [[nodiscard]] V get(const K& key, const V& otherwise) const {
    return get(key).value_or(otherwise);
  }
  void set(const K& key, const V& value) const { set_at(key, value); }
  [[nodiscard]] bool contains(const K& key) const {
    auto call = about("contains", key);
    return call.result().template number<bool>();
  }
  [[nodiscard]] std::size_t size() const {
    auto call = request("len");
    return call.result().template number<std::uint64_t>();
  }
  [[nodiscard]] bool empty() const { return size() == 0; }

  /// Takes a key out: KeyError, or `otherwise`, if it is not there.
  V pop(const K& key) const {
    auto value = optional("pop", key);
    if (!value) throw KeyError(detail::python_text(key));
    return *std::move(value);
  }
  V pop(const K& key, const V& otherwise) const { return optional("pop", key).value_or(otherwise); }
  /// Python's del dict[key].
  void erase(const K& key) const { pop(key); }
  /// The item that came last; KeyError if there is none.
  Item popitem() const {
    auto call = request("popitem");
    return take_item(call.result());
  }
  /// The key's value; if there is none, `value`, and it is in the dict then.
  V setdefault(const K& key, const V& value) const {
    auto call = about("setdefault", key);
    detail::put_element(call.args(), value, server());
    return detail::take_element<V>(call.result(), server());
  }
  /// Any range of pairs, in one message.
  template <std::ranges::sized_range Items>
  void update(const Items& items) const {
    if constexpr (detail::SmallNumber<K> && detail::SmallNumber<V>) return update_numbers(items);
    auto call = request("update");
    call.args().template number<std::uint64_t>(std::ranges::size(items));
    for (const auto& [key, value] : items) {
      detail::put_element<K>(call.args(), key, server());
      detail::put_element<V>(call.args(), value, server());
    }
    call.finish();
  }
  void update(std::initializer_list<Item> items) const { update(std::span(items)); }
  template <std::ranges::sized_range Items>
  const DictProxy& operator|=(const Items& items) const {
    update(items);
    return *this;
  }
  /// What | makes is a map of one's own, with the values of `items` where both
  /// have the key.
  friend std::map<K, V> operator|(const DictProxy& dict, const std::map<K, V>& items) {
    auto result = items;
    result.merge(dict.copy());
    return result;
  }
  void clear() const { request("clear").finish(); }

  [[nodiscard]] std::vector<K> keys() const { return column<K>("keys"); }
  [[nodiscard]] std::vector<V> values() const { return column<V>("values"); }
  [[nodiscard]] std::vector<Item> items() const {
    auto call = request("items");
    Decoder& in = call.result();
    std::vector<Item> all;
    for (auto count = in.count(2 * sizeof(std::uint32_t)); count > 0; --count) {
      all.push_back(take_item(in));
    }
    return all;
  }
  /// One's own, sorted by key. Python: copy, _getvalue.
  [[nodiscard]] std::map<K, V> copy() const {
    std::map<K, V> result;
    for (auto& [key, value] : items()) result.insert_or_assign(key, std::move(value));
    return result;
  }
  [[nodiscard]] std::map<K, V> getvalue() const { return copy(); }
  /// The values of several keys in one message; empty where there is none.
  [[nodiscard]] std::vector<std::optional<V>> get_many(const std::vector<K>& keys) const {
    auto call = request("get_many");
    call.args().template number<std::uint64_t>(keys.size());
    for (const K& key : keys) detail::put_element(call.args(), key, server());
    Decoder& in = call.result();
    std::vector<std::optional<V>> values;
    for (auto count = in.count(1); count > 0; --count) {
      values.push_back(detail::take_optional<V>(in, server()));
    }
    return values;
  }

  /// `fn(V&, args...)` on a key's value in the server, as one step; KeyError
  /// if it is not there. What fn returns.
  template <class Function, class... Args>
  auto update_item(const K& key, Function fn, const Args&... args) const {
    return update_at(key, fn, args...);
  }

  /// A loop runs over the items, as of a std::map (Python's gives keys), as they
  /// were when it began.
  using Iterator = detail::OwningIterator<Item>;
  [[nodiscard]] Iterator begin() const { return Iterator(items()); }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

  [[nodiscard]] std::string repr() const { return describe("DictProxy"); }
  /// `{'a': 1, 'b': 2}`, in the order in which keys came.
  [[nodiscard]] std::string str() const {
    std::string text;
    for (const auto& [key, value] : items()) {
      text +=
          (text.empty() ? "" : ", ") + detail::python_text(key) + ": " + detail::python_text(value);
    }
    return '{' + text + '}';
  }

 private:
  template <class, class, class>
  friend class ManagedElement;

  [[nodiscard]] detail::RemoteCall about(const char* method, const K& key) const {
    return detail::RemoteCall(shared_state(), method,
                              [&](Encoder& out) { detail::put_element(out, key, server()); });
  }
  [[nodiscard]] std::optional<V> optional(const char* method, const K& key) const {
    auto call = about(method, key);
    return detail::take_optional<V>(call.result(), server());
  }
  // Side by side, without lengths; as they are, if that is how they lie.
  template <class Items>
  void update_numbers(const Items& items) const {
    constexpr std::size_t size = sizeof(K) + sizeof(V);
    const std::size_t count = std::ranges::size(items);
    auto call = request("update_numbers", static_cast<std::uint8_t>(sizeof(K)),
                        static_cast<std::uint8_t>(sizeof(V)), static_cast<std::uint64_t>(count));
    if constexpr (std::ranges::contiguous_range<const Items> &&
                  std::same_as<std::ranges::range_value_t<Items>, Item> && sizeof(Item) == size) {
      call.attach(std::as_bytes(std::span(std::ranges::data(items), count)));
      return call.finish();
    }
    const auto rows = std::make_unique_for_overwrite<std::byte[]>(count * size);
    std::byte* to = rows.get();
    for (const auto& [key, value] : items) {
      const K k = static_cast<K>(key);
      const V v = static_cast<V>(value);
      std::memcpy(to, &k, sizeof k);
      std::memcpy(to + sizeof k, &v, sizeof v);
      to += size;
    }
    call.attach({rows.get(), count * size});
    call.finish();
  }
  template <class T>
  [[nodiscard]] std::vector<T> column(const char* method) const {
    auto call = request(method);
    return detail::take_elements<T>(call.result(), server());
  }
  Item take_item(Decoder& in) const {
    K key = detail::take_element<K>(in, server());
    return {std::move(key), detail::take_element<V>(in, server())};
  }
  [[nodiscard]] V get_at(const K& key) const {
    auto value = optional("get", key);
    if (!value) throw KeyError(detail::python_text(key));
    return *std::move(value);
  }
  void set_at(const K& key, const V& value) const {
    auto call = about("set", key);
    detail::put_element(call.args(), value, server());
    call.finish();
  }
  template <class N>
  N calculate(const K& key, char operation, N operand) const {
    auto call = about("calculate", key);
    call.args().number(detail::number_kind<N>());
    call.args().number(operation);
    call.args().number(operand);
    return detail::take_element<N>(call.result(), server());
  }
  template <class Function, class... Args>
  auto update_at(const K& key, Function, const Args&... args) const {
    detail::require_stateless<Function>();
    using detail::Stored;
    using Result = detail::AppliedResult<Function, V&, Stored<Args>&...>;
    auto call = about("apply_item", key);
    call.args().text(detail::applied_name<detail::ApplyToElement<V, Function, Stored<Args>...>>());
    (detail::put_element<Stored<Args>>(call.args(), args, server()), ...);
    return detail::take_applied<Result>(call);
  }
};

}  // namespace mp
