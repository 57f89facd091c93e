#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "mp/detail/callable.hpp"
#include "mp/detail/future_state.hpp"
#include "mp/pickle.hpp"

namespace mp::detail {

class Lane;

/// A worker's walk over the items of one task: the arguments come from the
/// lane, the results go straight into the lane's memory. After each item one
/// store says how far it got, so that a death costs exactly one item.
class ItemRun {
 public:
  explicit ItemRun(Lane& lane);
  ItemRun(const ItemRun&) = delete;
  ItemRun& operator=(const ItemRun&) = delete;

  /// Runs the lane's current task to its end.
  void run();

  // --- for the runner, the function that knows the types ---

  Decoder& in() noexcept { return in_; }
  Encoder& out() noexcept { return out_; }
  /// Begins the next item; false when there is none, or the time is over.
  bool next() { return index_ != stop_ || more(); }
  /// The function has returned: what is thrown from now on is about its value.
  void returned(const std::type_info& value) noexcept { value_ = &value; }
  /// The result of this item is in out().
  void done() {
    ++index_;
    if (out_.view().data() != room_ || !out_.descriptors().empty()) {
      keep_elsewhere();
    } else {
      value_ = nullptr;
      mark_ = out_.view().size();
      publish();
    }
  }
  /// The exception being handled is the result of this item.
  void failed();

  using Runner = void (*)(ItemRun&);

 private:
  bool more();
  void publish() noexcept;
  void keep_elsewhere();
  void open_room();
  void commit_open(bool last);
  void skip_to(std::size_t index);

  Lane& lane_;
  Decoder in_{{}};
  Encoder out_;
  std::size_t index_ = 0;   // The current item, or the next.
  std::size_t stop_ = 0;    // Where more() wants to be asked,
  std::size_t stride_ = 1;  // each so many items.
  std::size_t count_ = 0;
  std::size_t opened_ = 0;  // The first item of the open record.
  std::size_t mark_ = 0;    // Where the current item's result starts in out_.
  const std::byte* room_ = nullptr;
  const std::type_info* value_ = nullptr;
  std::int64_t begun_ = 0;
  std::int64_t asked_ = 0;
  std::uint64_t budget_ = 0;
  bool gave_back_ = false;
};

/// Results of one size need nothing between them; others are preceded by
/// their size, so that one that cannot be decoded hides no other.
template <class R>
inline constexpr bool bare_result = std::is_void_v<R> || Number<R>;

/// Calls `f` with an item: with the elements of a tuple if `Star`.
template <bool Star, class F, class Item>
decltype(auto) call_item(F& f, Item&& item) {
  if constexpr (Star) {
    return std::apply(f, std::forward<Item>(item));
  } else {
    return std::invoke(f, std::forward<Item>(item));
  }
}

/// The code that a task names: what to decode, to call and to encode.
template <class F, class Item, class R, bool Star>
void run_items(ItemRun& run) {
  auto f = decode<F>(run.in());
  while (run.next()) {
    try {
      auto item = decode<Item>(run.in());
      if constexpr (std::is_void_v<R>) {
        call_item<Star>(f, std::move(item));
        run.returned(typeid(void));
      } else {
        const R result = call_item<Star>(f, std::move(item));
        run.returned(typeid(R));
        const std::size_t at = run.out().view().size();
        if constexpr (!bare_result<R>) run.out().template number<std::uint64_t>(0);
        encode<R>(run.out(), result);
        if constexpr (!bare_result<R>) {
          run.out().patch(at, static_cast<std::uint64_t>(run.out().view().size() - at - 8));
        }
      }
      run.done();
    } catch (...) {
      run.failed();
    }
  }
}

}  // namespace mp::detail
