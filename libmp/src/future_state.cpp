#include "mp/detail/future_state.hpp"

#include <mutex>

#include <fmt/format.h>

#include "mp/detail/completion.hpp"
#include "mp/logging.hpp"
#include "mp/remote_error.hpp"

namespace mp::detail {

void Signal::change() noexcept {
  std::uint32_t word = word_.load(std::memory_order_relaxed);
  while (!word_.compare_exchange_weak(word, (word & ~somebody_sleeps) + step,
                                      std::memory_order_acq_rel)) {
  }
  // By its address only: it may be gone.
  if ((word & somebody_sleeps) != 0) futex_wake(word_, 1 << 30);
}

bool Signal::wait(std::uint32_t seen, const Deadline& deadline) const {
  while (value() == seen) {
    std::uint32_t expected = seen;
    const bool marked = word_.compare_exchange_strong(expected, seen | somebody_sleeps) ||
                        expected == (seen | somebody_sleeps);
    if (!marked) continue;
    const bool in_time = futex_wait(word_, seen | somebody_sleeps, deadline.remaining());
    if (!in_time && deadline.passed()) return value() != seen;
  }
  return true;
}

FutureBase::Status FutureBase::status() const {
  const Status status = status_.load(std::memory_order_acquire);
  if (status != Status::pending || !has_begun()) return status;
  // It may have got further meanwhile.
  const Status now = status_.load(std::memory_order_acquire);
  return now == Status::pending ? Status::running : now;
}

bool FutureBase::done() const noexcept {
  return status_.load(std::memory_order_acquire) >= Status::cancelled;
}

bool FutureBase::cancelled() const noexcept {
  const Status status = status_.load(std::memory_order_acquire);
  return status == Status::cancelled || status == Status::cancelled_and_notified;
}

bool FutureBase::cancel() {
  if (cancelled()) return true;
  if (status_.load(std::memory_order_acquire) != Status::pending || !take_back()) {
    return cancelled();
  }
  mutex_.lock();
  if (status_.load(std::memory_order_relaxed) != Status::pending) {
    mutex_.unlock();
    return cancelled();
  }
  announce(notifies_itself() ? Status::cancelled_and_notified : Status::cancelled);
  return true;
}

void FutureBase::set_cancelled() {
  mutex_.lock();
  announce(Status::cancelled_and_notified);
}

void FutureBase::help(const Signal& signal, std::uint32_t seen, const Deadline& deadline) {
  signal.wait(seen, deadline);
}

bool FutureBase::wait(const Deadline& deadline) {
  while (!done()) {
    const std::uint32_t seen = signal_.value();
    if (done()) break;
    help(signal_, seen, deadline);
    if (!done() && deadline.passed()) return false;
  }
  return true;
}

void FutureBase::require(Timeout timeout) {
  if (const auto failed = error(timeout)) std::rethrow_exception(failed);
}

std::exception_ptr FutureBase::error(Timeout timeout) {
  if (!done() && !wait(Deadline(timeout))) {
    throw TimeoutError("the result was not there in time");
  }
  if (cancelled()) throw CancelledError();
  return error_;
}

std::exception_ptr FutureBase::error_if_done() const noexcept {
  if (!done()) return nullptr;
  return cancelled() ? std::make_exception_ptr(CancelledError()) : error_;
}

void FutureBase::set_error(std::exception_ptr error) {
  finish([&] { error_ = std::move(error); });
}

namespace {

void call_back(const std::function<void()>& callback) {
  try {
    callback();
  } catch (...) {
    log(logging::error, "exception calling callback for a future: {}",
        describe_exception(std::current_exception()));
  }
}

}  // namespace

void FutureBase::on_done(std::function<void()> callback) {
  {
    const std::lock_guard guard(mutex_);
    if (!done()) {
      callbacks_.push_back(std::move(callback));
      return;
    }
  }
  call_back(callback);
}

bool FutureBase::set_running_or_notify_cancel() {
  mutex_.lock();
  const Status status = status_.load(std::memory_order_relaxed);
  if (status == Status::pending) {
    status_.store(Status::running, std::memory_order_release);
    mutex_.unlock();
    return true;
  }
  if (status == Status::cancelled) {
    announce(Status::cancelled_and_notified);
    return false;
  }
  mutex_.unlock();
  throw RuntimeError("Future in unexpected state");
}

void FutureBase::require_unfinished() const {
  const Status status = status_.load(std::memory_order_relaxed);
  if (status < Status::cancelled) return;
  throw InvalidStateError(status == Status::finished ? "FINISHED: the future is done already"
                                                     : "CANCELLED: the future is done already");
}

void FutureBase::announce(Status status) {
  status_.store(status, std::memory_order_release);
  // A future cancelled by hand is not done for its watchers until its
  // executor has noticed.
  if (status != Status::cancelled) {
    const bool failed = status == Status::finished && error_ != nullptr;
    for (const Watch& watch : watches_) watch.watcher->done(watch.index, failed);
    watches_.clear();
  }
  std::vector<std::function<void()>> callbacks = std::exchange(callbacks_, {});
  mutex_.unlock();
  signal_.change();
  for (const auto& callback : callbacks) call_back(callback);
}

std::optional<bool> FutureBase::watch(Watcher& watcher, std::size_t index) {
  const std::lock_guard guard(mutex_);
  const Status status = status_.load(std::memory_order_relaxed);
  if (status >= Status::cancelled_and_notified) {
    return status == Status::finished && error_ != nullptr;
  }
  watches_.push_back({&watcher, index});
  return std::nullopt;
}

void FutureBase::unwatch(Watcher& watcher) noexcept {
  const std::lock_guard guard(mutex_);
  std::erase_if(watches_, [&](const Watch& watch) { return watch.watcher == &watcher; });
}

std::string FutureBase::describe(const char* value_type) const {
  switch (status()) {
    case Status::pending:
      return "pending";
    case Status::running:
      return "running";
    case Status::cancelled:
    case Status::cancelled_and_notified:
      return "cancelled";
    case Status::finished:
      break;
  }
  if (error_ == nullptr) return std::string("finished returned ") + value_type;
  const std::string text = describe_exception(error_);
  return "finished raised " + text.substr(0, text.find(": "));
}

void CompletionQueue::done(std::size_t index, bool failed) noexcept {
  {
    const std::lock_guard guard(mutex_);
    queue_.push_back({index, failed});
  }
  signal_.change();
}

std::optional<CompletionQueue::Done> CompletionQueue::next(const Deadline& deadline) {
  for (;;) {
    const std::uint32_t seen = signal_.value();
    {
      const std::lock_guard guard(mutex_);
      if (!queue_.empty()) {
        const Done first = queue_.front();
        queue_.pop_front();
        return first;
      }
    }
    if (!signal_.wait(seen, deadline)) return std::nullopt;
  }
}

}  // namespace mp::detail
