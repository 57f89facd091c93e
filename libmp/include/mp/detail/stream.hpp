#pragma once

// Results that are taken one by one: imap, imap_unordered, Executor::map.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/detail/jobs.hpp"

namespace mp::detail {

/// A user's ranges, walked once and side by side until one ends: rvalues are
/// kept, lvalues referred to.
template <class... Ranges>
class Input {
 public:
  explicit Input(Ranges&&... ranges) : ranges_(std::forward<Ranges>(ranges)...) {}

  /// Calls `use` with the next elements; false at the end.
  template <class Use>
  bool take(Use use) {
    if (!at_) {
      at_.emplace(std::apply([](auto&... range) { return Iterators(std::ranges::begin(range)...); },
                             ranges_));
    }
    return take(use, std::index_sequence_for<Ranges...>());
  }

 private:
  using Iterators = std::tuple<std::ranges::iterator_t<std::remove_reference_t<Ranges>>...>;

  template <class Use, std::size_t... I>
  bool take(Use& use, std::index_sequence<I...>) {
    if ((at_end<I>() || ...)) return false;
    use(*std::get<I>(*at_)...);
    ((void)++std::get<I>(*at_), ...);
    return true;
  }

  template <std::size_t I>
  bool at_end() {
    return std::get<I>(*at_) == std::ranges::end(std::get<I>(ranges_));
  }

  std::tuple<Ranges...> ranges_;
  std::optional<Iterators> at_;
};

/// How a stream behaves.
struct StreamRules {
  bool ordered = true;
  std::size_t chunk = 1;
  std::size_t window = 0;      ///< Items submitted and not taken yet, at most.
  bool growing = false;        ///< The window starts small, and grows where the workers are quick.
  bool ends_at_error = false;  ///< An error is the last thing that comes.
  Timeout limit = {};          ///< How long a task may run.
};

template <class R>
class Stream;

/// Some consecutive items of a stream.
template <class R>
class StreamJob final : public Job {
 public:
  std::shared_ptr<Stream<R>> stream;
  std::size_t base = 0;  ///< The first item's place in the stream.
  std::function<R(std::size_t)> here;

  std::size_t deliver(std::size_t first, std::size_t n, Decoder& in) override;
  void fail(std::size_t first, std::size_t n, const std::exception_ptr& error) override;
  std::size_t run(std::size_t first, std::size_t n) override;
};

/// What stands between the workers and the reader of a stream.
///
/// One reader; results come from any thread, under `mutex_`. Input is pulled
/// by the reader's thread only, inside next().
template <class R>
class Stream : public std::enable_shared_from_this<Stream<R>> {
 public:
  struct Outcome {
    std::optional<Storable<R>> value = {};
    std::exception_ptr error = {};
  };
  /// Makes a job of at most so many items; null when the input is at its end.
  /// Items that do not fill a chunk are dropped if the input throws.
  using Pull =
      std::function<std::shared_ptr<StreamJob<R>>(std::size_t most, std::exception_ptr& error)>;

  Stream(std::shared_ptr<Engine> engine, StreamRules rules, Pull pull)
      : engine_(std::move(engine)),
        rules_(rules),
        widest_(rules.window),
        window_(rules.growing ? std::min(rules.window, first_window()) : rules.window),
        pull_(std::move(pull)) {}

  /// Fills the window.
  void refill() {
    while (pull_ && !failed_input_) {
      const std::size_t outstanding = submitted_ - taken_;
      if (outstanding + (rules_.growing ? window_ / 2 : 0) >= window_) return;
      const std::size_t room = window_ - outstanding;
      const std::size_t chunk = std::max(rules_.chunk, std::size_t{1});
      auto job = pull_(std::max(room / chunk, std::size_t{1}) * chunk, failed_input_);
      if (!job) {
        pull_ = nullptr;
        return;
      }
      submit(std::move(job));
    }
  }

  /// False at the end.
  bool next(Outcome& outcome, const Deadline& deadline) {
    if (!engine_->is_own())
      throw AssertionError("a result belongs to the process that made its pool");
    for (;;) {
      refill();
      if (taken_ != submitted_) {
        const std::uint32_t seen = signal_.value();
        if (take_one(outcome)) {
          ++taken_;
          refill();
          return true;
        }
        widen();
        engine_->help(signal_, seen, deadline);
        if (signal_.value() == seen && deadline.passed()) {
          throw TimeoutError("the next result was not there in time");
        }
      } else if (failed_input_) {
        pull_ = nullptr;
        outcome.error = std::exchange(failed_input_, nullptr);
        return true;
      } else {
        return false;
      }
    }
  }

  /// Nobody reads on: what has not begun never will.
  void abandon() noexcept {
    pull_ = nullptr;
    if (engine_->is_own()) {
      for (const auto& one : jobs_) {
        if (const auto job = one.lock()) engine_->take_back(*job);
      }
    }
    jobs_.clear();
    taken_ = submitted_;
    failed_input_ = nullptr;
  }
  [[nodiscard]] bool ends_at_error() const noexcept { return rules_.ends_at_error; }

  // --- the workers' side ---

  void put(std::size_t index, std::vector<Outcome>&& outcomes) {
    {
      const std::lock_guard guard(mutex_);
      if (!rules_.ordered) {
        std::move(outcomes.begin(), outcomes.end(), std::back_inserter(arrived_));
      } else {
        const std::size_t at = index - first_missing_;
        if (arrived_.size() < at + outcomes.size()) arrived_.resize(at + outcomes.size());
        std::move(outcomes.begin(), outcomes.end(),
                  arrived_.begin() + static_cast<std::ptrdiff_t>(at));
      }
    }
    signal_.change();
  }

 private:
  using Clock = std::chrono::steady_clock;

  // What a window that grows by itself may hold in the form that crosses.
  static constexpr std::size_t most_bytes = 8U << 20U;
  static constexpr Duration moment = std::chrono::milliseconds(2);

  std::size_t first_window() const { return 4 * engine_->size() * rules_.chunk; }

  void submit(std::shared_ptr<StreamJob<R>> job) {
    job->stream = this->shared_from_this();
    job->base = submitted_;
    job->engine = engine_;
    submitted_ += job->count;
    if (rules_.growing) {
      const std::size_t bytes = job->items.view().size() / job->count + 1;
      widest_ = std::min(rules_.window, std::max(first_window(), most_bytes / bytes));
      window_ = std::min(window_, widest_);
    }
    remember(job);
    std::exception_ptr refusal;
    try {
      if (engine_->submit(job) == Engine::Answer::accepted) return;
      refusal = engine_->broken();
    } catch (...) {
      refusal = std::current_exception();
    }
    if (!refusal) refusal = std::make_exception_ptr(PoolTerminated("Pool not running"));
    job->fail(0, job->count, refusal);
  }

  // A job whose items are all settled is held by nobody any more.
  void remember(const std::shared_ptr<StreamJob<R>>& job) {
    if (jobs_.size() >= full_) {
      std::erase_if(jobs_, [](const auto& one) { return one.expired(); });
      full_ = 2 * jobs_.size() + 16;
    }
    jobs_.push_back(job);
  }

  // The reader is about to wait. If the workers did all of the last window in a
  // moment, they may be waiting as well, for items: it is doubled.
  void widen() {
    if (!rules_.growing || window_ >= widest_ || taken_ - counted_ < window_) return;
    const auto now = Clock::now();
    if (now - counted_at_ < moment) window_ = std::min(window_ * 2, widest_);
    counted_ = taken_;
    counted_at_ = now;
  }

  bool take_one(Outcome& outcome) {
    if (mine_.empty()) {
      const std::lock_guard guard(mutex_);
      if (!rules_.ordered) {
        mine_.swap(arrived_);
      } else {
        while (!arrived_.empty() && (arrived_.front().value || arrived_.front().error)) {
          mine_.push_back(std::move(arrived_.front()));
          arrived_.pop_front();
          ++first_missing_;
        }
      }
    }
    if (mine_.empty()) return false;
    Outcome& first = mine_.front();
    outcome.error = std::move(first.error);
    if (first.value) outcome.value.emplace(*std::move(first.value));
    mine_.pop_front();
    return true;
  }

  // The reader's.
  const std::shared_ptr<Engine> engine_;
  const StreamRules rules_;
  std::size_t widest_;  // What the window may grow to.
  std::size_t window_;
  Pull pull_;
  std::exception_ptr failed_input_;
  std::size_t submitted_ = 0;
  std::size_t taken_ = 0;
  std::size_t counted_ = 0;  // What was taken when last widen() looked at the clock.
  Clock::time_point counted_at_ = Clock::now();
  std::vector<std::weak_ptr<Job>> jobs_;
  std::size_t full_ = 16;  // So many jobs are looked through for those that are over.
  std::deque<Outcome> mine_;
  // Everybody's.
  ForkSafeMutex mutex_;
  Signal signal_;
  std::deque<Outcome> arrived_;    // Ordered: an item that is not there is empty.
  std::size_t first_missing_ = 0;  // Ordered: the place of arrived_.front().
};

template <class R>
std::size_t StreamJob<R>::deliver(std::size_t first, std::size_t n, Decoder& in) {
  std::vector<typename Stream<R>::Outcome> outcomes(n);
  std::size_t failures = 0;
  for (auto& outcome : outcomes) {
    try {
      outcome.value.emplace(decode_result<R>(in));
    } catch (...) {
      ++failures;
      outcome.error = std::current_exception();
    }
  }
  stream->put(base + first, std::move(outcomes));
  return failures;
}

template <class R>
void StreamJob<R>::fail(std::size_t first, std::size_t n, const std::exception_ptr& error) {
  std::vector<typename Stream<R>::Outcome> outcomes(n);
  for (auto& outcome : outcomes) outcome.error = error;
  stream->put(base + first, std::move(outcomes));
}

template <class R>
std::size_t StreamJob<R>::run(std::size_t first, std::size_t n) {
  std::size_t failures = 0;
  for (std::size_t i = first; i < first + n; ++i) {
    std::vector<typename Stream<R>::Outcome> outcome(1);
    try {
      if constexpr (std::is_void_v<R>) {
        here(i);
        outcome[0].value.emplace();
      } else {
        outcome[0].value.emplace(here(i));
      }
    } catch (...) {
      ++failures;
      outcome[0].error = std::current_exception();
    }
    stream->put(base + i, std::move(outcome));
  }
  return failures;
}

}  // namespace mp::detail
