#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "mp/base_proxy.hpp"

namespace mp {

/// Attributes of any types, by name. Python: NamespaceProxy.
class NamespaceProxy : public BaseProxy {
 public:
  explicit NamespaceProxy(std::shared_ptr<detail::ProxyState> state)
      : BaseProxy(std::move(state), {"Namespace"}, detail::signature<std::string>) {}
  static NamespaceProxy unpickle(Decoder& in) {
    return NamespaceProxy(detail::ProxyState::unpickle(in));
  }

  template <class T>
  void set(const std::string& name, const T& value) const {
    using Kept = detail::Stored<T>;
    const Kept kept(value);
    auto call = about("set", name);
    // With its text beside it: nobody else could write it without knowing T.
    const auto text = detail::python_text(kept);
    detail::put_element(call.args(), std::tuple(detail::signature<Kept>, text, kept), server());
    call.finish();
  }
  /// Throws AttributeError if there is none, TypeError if it was set as
  /// another type.
  template <class T>
  [[nodiscard]] T get(const std::string& name) const {
    auto call = about("get", name);
    Decoder& in = call.result();
    if (!in.number<bool>()) throw AttributeError(no_attribute(name));
    in.number<std::uint32_t>();
    const detail::TokenScope scope(server());
    if (in.number<std::uint64_t>() != detail::signature<T>) throw TypeError(wrong_type(name));
    in.text();
    return decode<T>(in);
  }
  [[nodiscard]] bool contains(const std::string& name) const;
  /// Python's del namespace.name; AttributeError if there is none.
  void erase(const std::string& name) const;

  [[nodiscard]] std::string repr() const { return describe("NamespaceProxy"); }
  /// `Namespace(x=10, y='hello')`, sorted by name.
  [[nodiscard]] std::string str() const;

 private:
  [[nodiscard]] detail::RemoteCall about(const char* method, const std::string& name) const;
  static std::string no_attribute(const std::string& name);
  static std::string wrong_type(const std::string& name);
};

}  // namespace mp
