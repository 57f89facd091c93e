#pragma once

// From a user's call to a job: for processes all is encoded here, in the
// caller's thread; for threads it is kept as it is.

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/detail/jobs.hpp"
#include "mp/detail/stream.hpp"

namespace mp::detail {

template <class F, class... Args>
using CallResult = ResultOf<F, std::tuple<Stored<Args>...>, true>;

/// What cannot be encoded fails the call, not the caller: as Python, and so
/// that one bad argument among many leaves the others their results.
/// `Call` is a CallJob or a WaitedCall of that result.
template <bool Processes, class Call, class F, class... Args>
void fill_call(Call& job, F&& f, Args&&... args) {
  using R = CallResult<F, Args...>;
  using Item = std::tuple<Stored<Args>...>;
  if constexpr (Processes) {
    try {
      encode_head<std::decay_t<F>, Item, R, true>(job, f);
      (encode<Stored<Args>>(job.items, as_item<Stored<Args>>(args)), ...);
      job.stride = job.items.view().size();
      refuse_descriptors(job.items);
    } catch (...) {
      job.fail(0, 1, std::current_exception());
    }
  } else {
    auto kept = std::make_shared<std::pair<std::decay_t<F>, Item>>(
        std::forward<F>(f), Item(std::forward<Args>(args)...));
    job.here = [kept]() -> R { return std::apply(kept->first, std::move(kept->second)); };
    job.callee = callee_of(kept->first);
  }
}

/// What cannot be encoded fails all of the map, which is then done; what the
/// range throws is thrown.
template <bool Processes, bool Star, class R, class F, class Range>
void fill_map(MapJob<R>& job, F&& f, Range&& range) {
  using Item = ItemOf<Range>;
  using Function = std::decay_t<F>;
  std::size_t n = 0;
  std::exception_ptr refusal;
  if constexpr (Processes) {
    const auto unless_refused = [&](auto encode_some) {
      if (refusal) return;
      try {
        encode_some();
      } catch (...) {
        refusal = std::current_exception();
      }
    };
    unless_refused([&] { encode_head<Function, Item, R, Star>(job, f); });
    if constexpr (std::ranges::contiguous_range<Range> && std::ranges::sized_range<Range> &&
                  Number<Item> && !std::same_as<Item, bool>) {
      n = std::ranges::size(range);
      job.stride = sizeof(Item);
      unless_refused([&] { job.items.bytes(std::ranges::data(range), n * sizeof(Item)); });
    } else {
      for (auto&& element : range) {
        unless_refused([&] { encode_item<Item>(job, n, as_item<Item>(element)); });
        ++n;
      }
    }
  } else {
    auto kept = std::make_shared<std::pair<Function, std::vector<Item>>>(std::forward<F>(f),
                                                                         std::vector<Item>());
    for (auto&& element : range)
      kept->second.emplace_back(std::forward<decltype(element)>(element));
    n = kept->second.size();
    job.here = [kept](std::size_t i) -> R {
      return call_item<Star>(kept->first, Item(std::move(kept->second[i])));
    };
    job.callee = callee_of(kept->first);
  }
  job.count = n;
  job.ready_to_go();
  if (refusal && n != 0) job.fail(0, n, refusal);
}

/// What the items of one of a stream's jobs come to, about: large ones travel
/// alone, as together they would only be copied more often.
inline constexpr std::size_t most_stream_bytes = 256U << 10U;

/// The reader of `f` over `ranges`. `at_once`: all input is read and
/// submitted before this returns, in chunks of `rules.chunk`. Throws as open() does.
template <bool Processes, bool Star, class R, class Item, class F, class... Ranges>
std::shared_ptr<Stream<R>> make_stream(std::shared_ptr<Engine> engine, StreamRules rules,
                                       bool at_once, F&& f, Ranges&&... ranges) {
  using Function = std::decay_t<F>;
  auto function = std::make_shared<Function>(std::forward<F>(f));
  auto input = std::make_shared<Input<Ranges...>>(std::forward<Ranges>(ranges)...);
  auto pull = [function, input, rules, at_once](std::size_t most, std::exception_ptr& error) {
    auto job = std::make_shared<StreamJob<R>>();
    auto kept = std::make_shared<std::vector<Item>>();
    std::size_t n = 0;
    try {
      if constexpr (Processes) encode_head<Function, Item, R, Star>(*job, *function);
      const auto add = [&](auto&&... elements) {
        if constexpr (Processes) {
          encode_item<Item>(*job, n, Item(std::forward<decltype(elements)>(elements)...));
        } else {
          kept->emplace_back(std::forward<decltype(elements)>(elements)...);
        }
        ++n;
      };
      const std::size_t chunk = std::max(rules.chunk, std::size_t{1});
      const auto enough = [&] {
        return n >= most || (n % chunk == 0 && job->items.view().size() >= most_stream_bytes);
      };
      while ((at_once || !enough()) && input->take(add)) {
      }
    } catch (...) {
      if (at_once) throw;
      error = std::current_exception();
      n -= rules.chunk == automatic_chunks ? 0 : n % rules.chunk;
    }
    if (n == 0) return std::shared_ptr<StreamJob<R>>();
    job->count = n;
    job->chunk = rules.chunk;
    job->limit = rules.limit;
    if constexpr (!Processes) {
      job->here = [function, kept](std::size_t i) -> R {
        return call_item<Star>(*function, Item(std::move((*kept)[i])));
      };
    }
    job->callee = callee_of(*function);
    return job;
  };
  auto stream = std::make_shared<Stream<R>>(std::move(engine), rules, std::move(pull));
  stream->open();
  return stream;
}

}  // namespace mp::detail
