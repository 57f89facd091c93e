#pragma once

#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "mp/detail/stream.hpp"
#include "mp/errors.hpp"

namespace mp {

/// The results of imap, imap_unordered or an executor's map as they come: a range
/// to be walked once, by one thread. Dropping it cancels what has not begun.
///
///     for (int square : pool.imap(compute, numbers)) …
template <class R, class Stream = detail::Stream<R>>
class Results {
 public:
  using Value = detail::Storable<R>;

  Results(std::shared_ptr<Stream> stream, Timeout timeout)
      : stream_(std::move(stream)), deadline_(timeout) {}
  Results(Results&&) noexcept = default;
  /// What had been read here is dropped, as by the destructor.
  Results& operator=(Results&& other) noexcept {
    if (this == &other) return *this;
    if (stream_) stream_->abandon();
    stream_ = std::move(other.stream_);
    deadline_ = other.deadline_;
    current_ = std::move(other.current_);
    return *this;
  }
  ~Results() {
    if (stream_) stream_->abandon();
  }

  /// The next result; empty at the end. Throws the task's own exception at
  /// its place, that of the input where it was thrown, TimeoutError.
  std::optional<Value> next(Timeout timeout) { return next_until(detail::Deadline(timeout)); }
  std::optional<Value> next() { return next_until(deadline_); }

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = Value;
    using difference_type = std::ptrdiff_t;
    iterator() = default;
    explicit iterator(Results* results) : results_(results) { ++*this; }
    Value& operator*() const { return *results_->current_; }
    iterator& operator++() {
      // The last result is destroyed before the next is waited for.
      results_->current_.reset();
      results_->current_ = results_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.ended(); }

   private:
    [[nodiscard]] bool ended() const { return !results_->current_; }
    Results* results_ = nullptr;
  };
  friend class iterator;
  iterator begin() { return iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::optional<Value> next_until(const detail::Deadline& deadline) {
    typename Stream::Outcome outcome;
    try {
      if (!stream_->next(outcome, deadline)) return std::nullopt;
    } catch (const TimeoutError&) {
      if (stream_->ends_at_error()) stream_->abandon();
      throw;
    }
    if (outcome.error) {
      if (stream_->ends_at_error()) stream_->abandon();
      std::rethrow_exception(outcome.error);
    }
    return std::move(outcome.value);
  }

  std::shared_ptr<Stream> stream_;
  detail::Deadline deadline_;
  std::optional<Value> current_;
};

}  // namespace mp
