#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "mp/base_proxy.hpp"
#include "mp/managed_element.hpp"

/// Places in managed objects by their position, and loops over copies of them.
namespace mp::detail {

/// Runs over elements that it owns.
template <class T>
class OwningIterator {
 public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  OwningIterator() = default;
  explicit OwningIterator(std::vector<T> values)
      : values_(std::make_shared<const std::vector<T>>(std::move(values))) {}
  const T& operator*() const { return (*values_)[at_]; }
  OwningIterator& operator++() {
    ++at_;
    return *this;
  }
  void operator++(int) { ++at_; }
  bool operator==(std::default_sentinel_t) const { return !values_ || at_ == values_->size(); }

 private:
  std::shared_ptr<const std::vector<T>> values_;
  std::size_t at_ = 0;
};

/// Access to an element by its position.
template <class T>
class IndexedProxy : public BaseProxy {
 protected:
  using BaseProxy::BaseProxy;
  template <class, class, class>
  friend class mp::ManagedElement;

  [[nodiscard]] T get_at(std::int64_t index) const {
    auto call = request("get", index);
    return take_element<T>(call.result(), server());
  }
  void set_at(std::int64_t index, const T& value) const {
    auto call = request("set", index);
    put_element(call.args(), value, server());
    call.finish();
  }
  template <class N>
  N calculate(std::int64_t index, char operation, N operand) const {
    auto call = request("calculate", index);
    call.args().number(number_kind<N>());
    call.args().number(operation);
    call.args().number(operand);
    return take_element<N>(call.result(), server());
  }
  template <class Function, class... Args>
  auto update_at(std::int64_t index, Function, const Args&... args) const {
    require_stateless<Function>();
    using Result = AppliedResult<Function, T&, Stored<Args>&...>;
    auto call = request("apply_item", index);
    call.args().text(applied_name<ApplyToElement<T, Function, Stored<Args>...>>());
    (put_element<Stored<Args>>(call.args(), args, server()), ...);
    return take_applied<Result>(call);
  }
};

}  // namespace mp::detail
