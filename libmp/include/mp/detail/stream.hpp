#pragma once

// Results that are taken one by one: imap, imap_unordered, Executor::map.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/detail/input.hpp"
#include "mp/detail/input_lock.hpp"
#include "mp/detail/jobs.hpp"
#include "mp/detail/stream_rules.hpp"
#include "mp/detail/window.hpp"

namespace mp::detail {

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
/// One reader; results come from any thread, under `mutex_`. Input is pulled by
/// the reader's thread inside next(), or by one that joins the pool, under
/// `input_lock_`; that is locked before any other.
template <class R>
class Stream final : public OpenInput, public std::enable_shared_from_this<Stream<R>> {
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
        window_(rules, engine_->size()),
        pull_(std::move(pull)) {}

  /// Fills the window, first of all. Throws as Engine::keep_open().
  void open() {
    const std::lock_guard guard(input_lock_);
    if (rules_.outlives_close) {
      engine_->keep_open(this->weak_from_this());
      keeps_open_ = true;
    }
    try {
      refill();
    } catch (...) {
      end_input();
      throw;
    }
  }

  /// False at the end.
  bool next(Outcome& outcome, const Deadline& deadline) {
    if (!engine_->is_own())
      throw AssertionError("a result belongs to the process that made its pool");
    for (;;) {
      std::uint32_t seen = 0;
      {
        const std::lock_guard guard(input_lock_);
        refill();
        if (window_.empty()) {
          outcome.error = std::exchange(failed_input_, nullptr);
          return outcome.error != nullptr;
        }
        seen = signal_.value();
        if (take_one(outcome)) {
          window_.take();
          refill();
          return true;
        }
        window_.widen();
      }
      engine_->help(signal_, seen, deadline);
      if (signal_.value() == seen && deadline.passed()) {
        throw TimeoutError("the next result was not there in time");
      }
    }
  }

  /// Nobody reads on: what has not begun never will.
  void abandon() noexcept {
    if (!engine_->is_own()) return;
    if (input_lock_.is_inside()) {
      abandoned_inside_ = true;
      return;
    }
    const std::lock_guard guard(input_lock_);
    drop();
  }
  [[nodiscard]] bool ends_at_error() const noexcept { return rules_.ends_at_error; }

  void read_on(const Deadline& deadline) override {
    input_lock_.read_on(deadline, [this] {
      if (pull_) take_in(InputLock::read_on_items);
      return pull_ != nullptr && engine_->phase() == Engine::Phase::closed;
    });
  }

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
  void refill() {
    while (pull_) {
      const std::size_t room = window_.room();
      if (room == 0) return;
      take_in(room);
    }
  }

  // Reads at most so many items, or one chunk, and submits them.
  void take_in(std::size_t most) {
    const std::size_t chunk = std::max(rules_.chunk, std::size_t{1});
    auto job = input_lock_.inside(
        [&] { return pull_(std::max(most / chunk, std::size_t{1}) * chunk, failed_input_); });
    if (abandoned_inside_) return drop();
    const bool ended = !job || failed_input_;
    if (job) submit(std::move(job));
    if (ended) end_input();
  }
  void drop() noexcept {
    end_input();
    for (const auto& one : jobs_) {
      if (const auto job = one.lock()) engine_->take_back(*job);
    }
    jobs_.clear();
    window_.take_all();
    failed_input_ = nullptr;
  }
  void end_input() noexcept {
    pull_ = nullptr;
    if (std::exchange(keeps_open_, false) && engine_->is_own()) engine_->input_ended();
  }

  void submit(std::shared_ptr<StreamJob<R>> job) {
    job->stream = this->shared_from_this();
    job->base = window_.submitted();
    job->engine = engine_;
    job->of_open_input = keeps_open_;
    window_.submit(job->count, job->items.view().size());
    remember(job);
    std::exception_ptr refusal;
    try {
      if (engine_->submit(job) == Engine::Answer::accepted) return;
      refusal = engine_->broken();
    } catch (...) {
      refusal = std::current_exception();
    }
    if (!refusal) refusal = refused();
    job->fail(0, job->count, refusal);
  }

  [[nodiscard]] std::exception_ptr refused() const {
    if (rules_.outlives_close) return std::make_exception_ptr(PoolTerminated("Pool not running"));
    return std::make_exception_ptr(RuntimeError("cannot schedule new futures after shutdown"));
  }

  // A job whose items are all settled is held by nobody any more.
  void remember(const std::shared_ptr<StreamJob<R>>& job) {
    if (jobs_.size() >= full_) {
      std::erase_if(jobs_, [](const auto& one) { return one.expired(); });
      full_ = 2 * jobs_.size() + 16;
    }
    jobs_.push_back(job);
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

  const std::shared_ptr<Engine> engine_;
  const StreamRules rules_;
  // The reader's, and theirs who read on: under input_lock_.
  InputLock input_lock_;
  Window window_;
  Pull pull_;
  std::exception_ptr failed_input_;
  bool keeps_open_ = false;
  bool abandoned_inside_ = false;  // By the input's own code.
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
