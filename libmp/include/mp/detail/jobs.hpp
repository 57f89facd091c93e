#pragma once

// The jobs behind Pool and the executors: what knows the types.

#include <algorithm>
#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/detail/item_run.hpp"
#include "mp/detail/workers.hpp"
#include "mp/partial.hpp"
#include "mp/remote_error.hpp"

namespace mp::detail {

/// How an element of a user's range is kept and sent: texts as std::string.
template <class Range>
using ItemOf =
    std::conditional_t<std::is_same_v<std::ranges::range_value_t<Range>, std::string_view>,
                       std::string, Stored<std::ranges::range_value_t<Range>>>;

/// The element as that: itself where it is one already.
template <class Item, class Element>
decltype(auto) as_item(Element&& element) {
  if constexpr (std::is_same_v<std::remove_cvref_t<Element>, Item>) {
    return std::forward<Element>(element);
  } else {
    return Item(std::forward<Element>(element));
  }
}

// Empty, and so no error yet, where F cannot be called with the item.
template <class F, class Item, bool Star>
struct ItemResult {};
template <class F, class Item>
requires std::is_invocable_v<F&, Item>
struct ItemResult<F, Item, false> {
  using type = std::decay_t<std::invoke_result_t<F&, Item>>;
};
template <class F, class... Args>
requires std::is_invocable_v<F&, Args...>
struct ItemResult<F, std::tuple<Args...>, true> {
  using type = std::decay_t<std::invoke_result_t<F&, Args...>>;
};
template <class F, class A, class B>
struct ItemResult<F, std::pair<A, B>, true> : ItemResult<F, std::tuple<A, B>, true> {};
template <class F, class T, std::size_t... I>
auto array_result(std::index_sequence<I...>)
    -> ItemResult<F, std::tuple<std::conditional_t<I == 0, T, T>...>, true>;
template <class F, class T, std::size_t N>
struct ItemResult<F, std::array<T, N>, true>
    : decltype(array_result<F, T>(std::make_index_sequence<N>())) {};

/// What `f(item)`, or `f(elements of item...)`, gives, as a value.
template <class F, class Item, bool Star>
using ResultOf = typename ItemResult<std::decay_t<F>, Item, Star>::type;

template <class F>
Callee callee_of(const F& f) {
  if constexpr (FunctionPointer<F>) {
    return {reinterpret_cast<const void*>(f), &typeid(F)};
  } else {
    return {nullptr, &typeid(F)};
  }
}
template <class F, class... Bound>
Callee callee_of(const Partial<F, Bound...>& partial) {
  return callee_of(partial.function);
}

/// Logs what a user's callback throws.
void call_guarded(const std::function<void()>& callback);

/// Decodes one result.
template <class R>
Storable<R> decode_result(Decoder& in) {
  if constexpr (std::is_void_v<R>) {
    return {};
  } else if constexpr (!Picklable<R>) {
    throw PicklingError("a result that only threads can have");
  } else if constexpr (bare_result<R>) {
    return decode<R>(in);
  } else {
    Decoder part(in.take(in.count(1)));
    R value = decode<R>(part);
    if (part.left() != 0) Decoder::malformed("bytes left over");
    return value;
  }
}

/// What a pool's caller wants to be told, in the thread that has the result,
/// before the result is ready.
template <class T>
struct Callbacks {
  std::function<void(const Storable<T>&)> done = {};
  std::function<void(const std::exception_ptr&)> failed = {};
};

inline void refuse_descriptors(const Encoder& encoder) {
  if (encoder.descriptors().empty()) return;
  throw PicklingError("a task cannot carry descriptors: give them to the pool's initializer");
}

/// Items and callable in the form that crosses. Throws what encoding throws.
template <class F, class Item, class R, bool Star>
void encode_head(Job& job, const F& f) {
  static_assert(Picklable<F>,
                "mp: this callable cannot be sent to a worker process: it captures, or holds what "
                "cannot be pickled; use a function, a lambda without captures, or mp::partial");
  static_assert(Picklable<Item>, "mp: these arguments cannot be pickled");
  static_assert(std::is_void_v<R> || Picklable<Storable<R>>, "mp: the result cannot be pickled");
  constexpr ItemRun::Runner runner = &run_items<F, Item, R, Star>;
  job.head.code(reinterpret_cast<const void*>(runner));
  encode(job.head, f);
  refuse_descriptors(job.head);
  job.callee = callee_of(f);
}

/// Appends one item; keeps account of where it begins.
template <class Item>
void encode_item(Job& job, std::size_t index, const Item& item) {
  const std::size_t before = job.items.view().size();
  encode<Item>(job.items, item);
  refuse_descriptors(job.items);
  const std::size_t size = job.items.view().size() - before;
  if (index == 0) job.stride = size;
  if (job.starts.empty() && size == job.stride) return;
  if (job.starts.empty()) {
    for (std::size_t i = 0; i <= index; ++i) job.starts.push_back(i * job.stride);
  }
  job.starts.push_back(before + size);
}

/// One call: a job that is its own future.
template <class R>
class CallJob final : public Job, public FutureState<R> {
 public:
  Callbacks<R> callbacks;
  std::function<R()> here;  ///< For threads.

  CallJob();
  std::size_t deliver(std::size_t, std::size_t, Decoder& in) override {
    try {
      return finish_with(decode_result<R>(in));
    } catch (...) {
      fail(0, 1, std::current_exception());
      return 1;
    }
  }
  void fail(std::size_t, std::size_t, const std::exception_ptr& error) override {
    if (callbacks.failed) call_guarded([&] { callbacks.failed(error); });
    this->set_error(error);
  }
  void cancel_items(std::size_t, std::size_t) override { this->set_cancelled(); }
  [[nodiscard]] bool finished() const noexcept override { return this->done(); }
  std::size_t run(std::size_t, std::size_t) override {
    const auto function = std::exchange(here, {});
    try {
      if constexpr (std::is_void_v<R>) {
        function();
        return finish_with({});
      } else {
        return finish_with(function());
      }
    } catch (...) {
      fail(0, 1, std::current_exception());
      return 1;
    }
  }

 protected:
  bool has_begun() const override { return engine && engine->is_own() && engine->has_begun(*this); }
  bool take_back() override { return engine && engine->is_own() && engine->take_back(*this) == 1; }
  bool notifies_itself() const override { return true; }
  void help(const Signal& signal, std::uint32_t seen, const Deadline& deadline) override {
    engine->help(signal, seen, deadline, this);
  }

 private:
  std::size_t finish_with(Storable<R> value) {
    if (callbacks.done) call_guarded([&] { callbacks.done(value); });
    this->set_value(std::move(value));
    return 0;
  }
};

// Not defaulted above: where it is, make_shared() first writes zeros over all
// of it, the encoders' kilobyte included.
template <class R>
CallJob<R>::CallJob() = default;

/// A call to a worker process whose caller waits for its end, whenever that is.
/// Then nobody else need keep it: it lies on its caller's stack, and the change
/// of its signal is the last that is done to it.
template <class R>
class WaitedCall final : public Job {
 public:
  /// For submit(). Owns nothing.
  std::shared_ptr<Job> borrowed() noexcept { return {std::shared_ptr<void>(), this}; }
  [[nodiscard]] bool finished() const noexcept override { return signal_.value() != 0; }
  [[nodiscard]] const Signal& signal() const noexcept { return signal_; }
  /// Waits. Throws the task's error.
  R get() {
    while (!finished()) {
      try {
        engine->help(signal_, 0, Deadline(), this);
      } catch (...) {
        // It has to stay until it is settled: by others, where this thread cannot help.
        signal_.wait(0, Deadline());
      }
    }
    if (error_) std::rethrow_exception(error_);
    if constexpr (!std::is_void_v<R>) return *std::move(value_);
  }

  std::size_t deliver(std::size_t, std::size_t, Decoder& in) override {
    std::size_t failures = 0;
    try {
      value_.emplace(decode_result<R>(in));
    } catch (...) {
      error_ = std::current_exception();
      failures = 1;
    }
    signal_.change();
    return failures;
  }
  void fail(std::size_t, std::size_t, const std::exception_ptr& error) override {
    error_ = error;
    signal_.change();
  }
  /// Threads hold a job for a moment after its end.
  std::size_t run(std::size_t first, std::size_t n) override {
    fail(first, n, std::make_exception_ptr(AssertionError("a call for processes only")));
    return n;
  }

 private:
  Signal signal_;
  std::optional<Storable<R>> value_;
  std::exception_ptr error_;
};

/// The values of a map, all of them: nothing for functions that return nothing.
template <class R>
using MapValue = std::conditional_t<std::is_void_v<R>, void, std::vector<Storable<R>>>;

/// Items that were made all at once, and their results in the same order.
///
/// Invariant: a slot is written by whoever settles its item, exactly once,
/// before `settled_` is raised past it; who finds all settled reads them all.
template <class R>
class MapJob final : public Job, public FutureState<MapValue<R>> {
 public:
  Callbacks<MapValue<R>> callbacks;
  std::function<R(std::size_t)> here;  ///< For threads.

  /// When `count` is known. With no item at all it is finished at once.
  void ready_to_go() {
    if constexpr (!std::is_void_v<R>) slots_.resize(count);
    if (count == 0) complete();
  }
  [[nodiscard]] Progress progress() const {
    Progress now;
    now.total = count;
    now.failed = failed_.load(std::memory_order_relaxed);
    now.done = std::min(settled_.load(std::memory_order_relaxed), count) - now.failed;
    now.queued = now.total - now.done - now.failed;
    return now;
  }

  [[nodiscard]] bool finished() const noexcept override { return this->done(); }
  std::size_t deliver(std::size_t first, std::size_t n, Decoder& in) override {
    std::size_t failures = 0;
    if constexpr (std::is_void_v<R>) {
      count_settled(n, 0);
    } else if constexpr (Number<R> && !std::same_as<R, bool>) {
      in.bytes(slots_.data() + first, n * sizeof(R));
      count_settled(n, 0);
    } else {
      for (std::size_t i = first; i < first + n; ++i) {
        try {
          slots_[i] = Slot(decode_result<R>(in));
        } catch (...) {
          ++failures;
          keep_error(i, std::current_exception());
        }
      }
      count_settled(n, failures);
    }
    return failures;
  }
  void fail(std::size_t first, std::size_t n, const std::exception_ptr& error) override {
    keep_error(first, error);
    count_settled(n, n);
  }
  std::size_t run(std::size_t first, std::size_t n) override {
    std::size_t failures = 0;
    for (std::size_t i = first; i < first + n; ++i) {
      try {
        if constexpr (std::is_void_v<R>) {
          here(i);
        } else {
          slots_[i] = Slot(here(i));
        }
        count_settled(1, 0);
      } catch (...) {
        ++failures;
        fail(i, 1, std::current_exception());
      }
    }
    return failures;
  }

 protected:
  bool take_back() override { return false; }
  void help(const Signal& signal, std::uint32_t seen, const Deadline& deadline) override {
    engine->help(signal, seen, deadline, this);
  }

 private:
  // vector<bool> has no slots of its own; others may have no empty value.
  using Slot = std::conditional_t<std::same_as<R, bool>, unsigned char,
                                  std::conditional_t<std::default_initializable<Storable<R>>,
                                                     Storable<R>, std::optional<Storable<R>>>>;

  void keep_error(std::size_t index, const std::exception_ptr& error) {
    const std::lock_guard guard(error_mutex_);
    if (first_error_ && error_index_ <= index) return;
    first_error_ = error;
    error_index_ = index;
  }
  void count_settled(std::size_t n, std::size_t failures) {
    failed_.fetch_add(failures, std::memory_order_relaxed);
    if (settled_.fetch_add(n, std::memory_order_acq_rel) + n == count) complete();
  }
  void complete() {
    if (first_error_) {
      if (callbacks.failed) call_guarded([&] { callbacks.failed(first_error_); });
      this->set_error(first_error_);
      return;
    }
    auto values = take_values();
    if (callbacks.done) call_guarded([&] { callbacks.done(values); });
    this->set_value(std::move(values));
  }
  Storable<MapValue<R>> take_values() {
    if constexpr (std::is_void_v<R>) {
      return {};
    } else if constexpr (std::same_as<Slot, R>) {
      return std::move(slots_);
    } else if constexpr (std::same_as<R, bool>) {
      return {slots_.begin(), slots_.end()};
    } else {
      std::vector<R> values;
      values.reserve(slots_.size());
      for (auto& slot : slots_) values.push_back(*std::move(slot));
      return values;
    }
  }

  std::vector<Slot> slots_;
  std::atomic<std::size_t> settled_{0};
  std::atomic<std::size_t> failed_{0};
  ForkSafeMutex error_mutex_;
  std::exception_ptr first_error_;
  std::size_t error_index_ = 0;
};

}  // namespace mp::detail
