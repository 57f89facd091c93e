#pragma once

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/connection.hpp"
#include "mp/detail/flat.hpp"
#include "mp/detail/lockable.hpp"
#include "mp/detail/os.hpp"
#include "mp/detail/ring.hpp"
#include "mp/errors.hpp"
#include "mp/pickle.hpp"

/// Queues between processes. Python: multiprocessing.Queue, JoinableQueue,
/// SimpleQueue.
///
/// A queue is a cheap handle: copies are the same queue. It may be an argument
/// of a Process under every start method, and part of a message on a
/// Connection; any number of processes and threads may put and get.
///
/// Where Python hands an item to a feeder thread and a pipe, put() here copies
/// it into shared memory itself. So when put() returns, the item is there for
/// every other process: empty() right after it is false, the process may be
/// joined, or killed, before anybody has read, and what cannot be pickled is an
/// exception of put(), which then has changed nothing. Items come out in the
/// order in which their put() calls took effect.
///
/// A process that is killed inside put() has put its item or it has not; one
/// that is killed inside get() has taken its item or it has not. Nobody else
/// notices, let alone waits for it. A live one in the middle of a very large item is
/// waited for, beyond a time-out, too: Full is said of full queues only, and Empty of
/// empty ones.
///
/// A queue is at least three descriptors and 16 MiB of address space. What a
/// backlog took is given back as it is read, but for up to 16 MiB and one more
/// MiB, which stay with the queue.
namespace mp {

/// The keyword arguments of Python's `Queue()`, and one more.
struct QueueOptions {
  std::size_t maxsize = 0;    ///< Most items in the queue at once; 0: as many as memory holds.
  std::size_t max_bytes = 0;  ///< Most pickled bytes in it at once; 0: no bound of this kind.
};

namespace detail {

/// What the copies of a queue in one process share, whatever the items' type.
class QueueCore final : public WaitSource {
 public:
  using Pieces = Ring::Pieces;

  QueueCore(const char* kind, const QueueOptions& options);
  QueueCore(const char* kind, Decoder& in);

  void put(Pieces pieces, const Timeout& timeout);
  /// `take` as in Ring::get().
  template <class Take>
  void get(Take&& take, const Timeout& timeout) {
    require_open();
    finish_get(ring_.get(take, Deadline(timeout)));
  }

  [[nodiscard]] Ring& ring() noexcept { return ring_; }
  [[nodiscard]] const Ring& ring() const noexcept { return ring_; }
  void close() noexcept { closed_ = true; }
  [[nodiscard]] bool closed() const noexcept { return closed_; }
  void require_open() const;
  void require_closed() const;
  void task_done();
  void pickle(Encoder& out) const;
  [[nodiscard]] std::string repr() const;

  int arm() override;
  [[nodiscard]] bool ready() override { return ring_.ready(); }

 private:
  static void finish_get(RingResult result);

  const char* kind_;  // Python's name of the class.
  Ring ring_;
  std::atomic<bool> closed_{false};
};

/// Throws the PicklingError for an item that holds descriptors.
void refuse_descriptors(const Encoder& out);

/// A record's bytes, copied out of the queue so that they can be decoded
/// after its lock is released; small ones without the heap.
class Record {
 public:
  void assign(std::span<const std::byte> bytes);
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return heap_.empty() ? std::span(small_).first(size_) : std::span<const std::byte>(heap_);
  }

 private:
  std::array<std::byte, 512> small_;
  std::size_t size_ = 0;
  std::vector<std::byte> heap_;
};

}  // namespace detail

/// First in, first out, of values of type T.
///
/// A time-out is empty to wait for ever, zero only to look. Time-outs end in
/// Full and Empty. After close() in this process: ValueError; after shutdown():
/// ShutDown. Where there is no memory for an item: std::system_error.
template <Picklable T>
class Queue {
 public:
  using value_type = T;

  explicit Queue(std::size_t maxsize = 0) : Queue(QueueOptions{.maxsize = maxsize}) {}
  explicit Queue(const QueueOptions& options) : Queue("Queue", options) {}

  /// Puts a copy of `item` into the queue; waits while that is full. Throws
  /// PicklingError if the item cannot be pickled or holds descriptors.
  void put(const T& item, Timeout timeout = {});
  /// Python's put(obj, block, timeout): not blocking means a time-out of zero.
  template <std::same_as<bool> Block>
  void put(const T& item, Block block, Timeout timeout = {}) {
    put(item, detail::time_to_wait(block, timeout));
  }
  void put_nowait(const T& item) { put(item, Duration::zero()); }

  /// Takes the oldest item; waits while there is none. What reading its bytes
  /// throws, a type's own unpickle() say, is thrown here, and the item is gone.
  T get(Timeout timeout = {});
  /// Python's get(block, timeout).
  template <std::same_as<bool> Block>
  T get(Block block, Timeout timeout = {}) {
    return get(detail::time_to_wait(block, timeout));
  }
  T get_nowait() { return get(Duration::zero()); }

  /// Exact, at the moment of looking: items put and not taken.
  [[nodiscard]] std::size_t qsize() const { return core_->ring().count(); }
  [[nodiscard]] bool empty() const { return qsize() == 0; }
  [[nodiscard]] bool full() const { return core_->ring().full(); }

  /// This process will put and get no more; others are not concerned.
  void close() { core_->close(); }
  /// There is no thread to wait for. Throws AssertionError before close().
  void join_thread() const { core_->require_closed(); }
  /// Nothing to cancel, so nothing is lost.
  void cancel_join_thread() const noexcept {}

  /// From now on put() throws ShutDown, in every process; get(), too, once the
  /// queue is empty, or at once if `immediate`: then what is in it is dropped.
  /// Waiting calls end.
  void shutdown(bool immediate = false) { core_->ring().shut_down(immediate); }

  /// `<Queue size=3>`, `<Queue closed>`.
  [[nodiscard]] std::string repr() const { return core_->repr(); }

  /// The same queue: true for copies only.
  friend bool operator==(const Queue&, const Queue&) = default;

  void pickle(Encoder& out) const { core_->pickle(out); }
  static Queue unpickle(Decoder& in) { return Queue("Queue", in); }

  /// For mp::connection::wait().
  [[nodiscard]] std::shared_ptr<detail::WaitSource> wait_source() const { return core_; }

 protected:
  Queue(const char* kind, const QueueOptions& options)
      : core_(std::make_shared<detail::QueueCore>(kind, options)) {}
  Queue(const char* kind, Decoder& in) : core_(std::make_shared<detail::QueueCore>(kind, in)) {}
  std::shared_ptr<detail::QueueCore> core_;
};

/// A Queue that knows what is unfinished: each put() adds one task, each
/// task_done() takes one away.
template <Picklable T>
class JoinableQueue : public Queue<T> {
 public:
  explicit JoinableQueue(std::size_t maxsize = 0)
      : JoinableQueue(QueueOptions{.maxsize = maxsize}) {}
  explicit JoinableQueue(const QueueOptions& options) : Queue<T>("JoinableQueue", options) {}

  /// Says that an item that was got has been dealt with. Throws ValueError if
  /// called more often than there were items.
  void task_done() { this->core_->task_done(); }

  /// Returns true when there is no unfinished task, false when `timeout` has
  /// passed. Beyond Python: the time-out. It is the remedy where consumers may
  /// be killed: whose task_done() will never come, is not known.
  bool join(Timeout timeout = {}) { return this->core_->ring().join(detail::Deadline(timeout)); }

  static JoinableQueue unpickle(Decoder& in) { return JoinableQueue(in); }

 private:
  explicit JoinableQueue(Decoder& in) : Queue<T>("JoinableQueue", in) {}
};

/// The least a queue can be. Unlike Python's it is not bounded by a pipe: put()
/// never waits for a reader. Errors are those of Queue: after close() all calls
/// throw ValueError, where Python's get() and put() raise OSError.
template <Picklable T>
class SimpleQueue {
 public:
  using value_type = T;

  SimpleQueue() = default;
  void put(const T& item) { queue_.put(item); }
  T get(Timeout timeout = {}) { return queue_.get(timeout); }
  /// Throws ValueError `Queue <SimpleQueue closed> is closed` after close().
  [[nodiscard]] bool empty() const { return queue_.open_and_empty(); }
  void close() { queue_.close(); }
  [[nodiscard]] std::string repr() const { return queue_.repr(); }

  friend bool operator==(const SimpleQueue&, const SimpleQueue&) = default;
  void pickle(Encoder& out) const { queue_.pickle(out); }
  static SimpleQueue unpickle(Decoder& in) { return SimpleQueue(in); }
  [[nodiscard]] std::shared_ptr<detail::WaitSource> wait_source() const {
    return queue_.wait_source();
  }

 private:
  struct Inner : Queue<T> {
    Inner() : Queue<T>("SimpleQueue", QueueOptions()) {}
    explicit Inner(Decoder& in) : Queue<T>("SimpleQueue", in) {}
    bool open_and_empty() const {
      this->core_->require_open();
      return this->empty();
    }
  };
  explicit SimpleQueue(Decoder& in) : queue_(in) {}
  Inner queue_;
};

template <Picklable T>
void Queue<T>::put(const T& item, Timeout timeout) {
  if constexpr (detail::Number<T>) {
    const std::array pieces{std::as_bytes(std::span(&item, 1))};
    core_->put(pieces, timeout);
  } else if constexpr (detail::FlatValue<T>) {
    const detail::FlatPieces<T> flat(item);
    core_->put(flat.get(), timeout);
  } else {
    Encoder out;
    encode(out, item);
    detail::refuse_descriptors(out);
    const std::array pieces{out.view()};
    core_->put(pieces, timeout);
  }
}

template <Picklable T>
T Queue<T>::get(Timeout timeout) {
  const auto decode_all = [](std::span<const std::byte> bytes) {
    Decoder in(bytes);
    T item = decode<T>(in);
    if (in.left() != 0) Decoder::malformed("bytes left over");
    return item;
  };
  if constexpr (detail::DecodedInPlace<T>) {
    std::optional<T> item;
    core_->get([&](std::span<const std::byte> bytes) { item.emplace(decode_all(bytes)); }, timeout);
    return *std::move(item);
  } else {
    detail::Record record;
    core_->get([&](std::span<const std::byte> bytes) { record.assign(bytes); }, timeout);
    return decode_all(record.bytes());
  }
}

namespace detail {

template <class T>
concept AnyQueue = requires(const T& queue) {
  typename T::value_type;
  queue.wait_source();
  { queue.repr() } -> std::same_as<std::string>;
};

std::ostream& write_text(std::ostream& out, const std::string& text);

}  // namespace detail

template <detail::AnyQueue Q>
std::ostream& operator<<(std::ostream& out, const Q& queue) {
  return detail::write_text(out, queue.repr());
}

}  // namespace mp

template <mp::detail::AnyQueue Q>
struct fmt::formatter<Q> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const Q& queue, Context& context) const {
    return fmt::formatter<std::string>::format(queue.repr(), context);
  }
};
