#pragma once

#include <fmt/format.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "mp/detail/flat.hpp"
#include "mp/detail/os.hpp"
#include "mp/errors.hpp"
#include "mp/pickle.hpp"

namespace mp {

namespace detail {

class Channel;  // What the copies of a Connection share; in connection.cpp.

/// A message that was received: payload and descriptors.
class Message {
 public:
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return large_.empty() ? std::span(small_).first(size_) : std::span(large_).first(size_);
  }
  [[nodiscard]] std::span<UniqueFd> descriptors() noexcept { return fds_; }

 private:
  friend class Channel;
  // Small messages never touch the heap.
  std::array<std::byte, 256> small_;
  std::vector<std::byte> large_;
  std::size_t size_ = 0;
  std::vector<UniqueFd> fds_;
};

}  // namespace detail

/// Python's "bytes-like object": text, or a range of plain values in one
/// piece. A view; it does not own what it shows. An array of char is text up to
/// its first NUL; other bytes go as a std::string or a std::array.
class BytesView : public std::span<const std::byte> {
 public:
  BytesView(std::span<const std::byte> bytes) : span(bytes) {}
  BytesView(std::string_view text) : span(std::as_bytes(std::span(text))) {}
  BytesView(const std::string& text) : BytesView(std::string_view(text)) {}
  BytesView(const char* text) : BytesView(std::string_view(text)) {}
  template <std::ranges::contiguous_range Range>
  requires(std::ranges::sized_range<Range> &&
           !std::convertible_to<const Range&, std::string_view> &&
           std::is_trivially_copyable_v<std::ranges::range_value_t<Range>>)
      BytesView(const Range& range)
      : span(std::as_bytes(std::span(std::ranges::data(range), std::ranges::size(range)))) {}
};

/// One end of a pipe for messages. A message is a value or a run of bytes,
/// of 0 bytes to as many as fit in memory, and arrives whole or not at all.
///
/// A cheap handle: copies are the same end, and close() closes them all, in
/// this process. It may be an argument of a Process under every start method
/// and part of a message (over unix sockets); the receiver then has an end of
/// its own, and the sender may close its.
///
/// Threads may share an end: each message is sent and received in one piece.
/// Processes that share one must take turns, as in Python.
///
/// The waits take a time-out, beyond Python's; its end is a TimeoutError. A
/// message half received by then is completed by the next receive; a message
/// half sent by then cannot be taken back, so the end is closed for sending.
/// Signals interrupt no call.
///
/// Errors of every call, as std::system_error, where Python has OSError:
/// EBADF after close(), or in the direction in which the end is not open;
/// EPIPE sending to an end that is gone (there is no SIGPIPE); ECONNRESET where
/// the other end goes in the middle of a message; EBADMSG for what is no
/// message of libmp's, and nothing is received from then on.
class Connection {
 public:
  /// Takes over `fd`, a connected stream socket; what is refused is closed, too.
  /// Throws ValueError if `fd` is negative or neither direction is open,
  /// std::system_error if it is no stream socket.
  explicit Connection(int fd, bool readable = true, bool writable = true);

  /// Sends a value; it is received by recv() of the same type (text literals
  /// as std::string). Blocks while the pipe is full. Throws PicklingError
  /// before anything is sent.
  template <class T>
  requires Picklable<detail::Stored<T>>
  void send(const T& value, Timeout timeout = {});

  /// The next message, as T. Throws EOFError when the other end is closed and
  /// all was read; PicklingError if the message is something else, which is
  /// then consumed, and the connection good for the next.
  template <Picklable T>
  T recv(Timeout timeout = {});

  /// Sends bytes; the second form `size` of them (all, if empty) from
  /// `offset` on. Throws ValueError if there are not as many.
  void send_bytes(BytesView bytes, Timeout timeout = {});
  void send_bytes(BytesView bytes, std::size_t offset, std::optional<std::size_t> size = {},
                  Timeout timeout = {});

  /// The bytes of the next message. If they are more than `maxlength`, throws
  /// std::system_error (EMSGSIZE, "bad message length"), and the end is closed
  /// for receiving: what follows could not be told from the message's rest.
  std::vector<std::byte> recv_bytes(std::optional<std::size_t> maxlength = {},
                                    Timeout timeout = {});

  /// The bytes of the next message, written into `buffer` from `offset` on;
  /// returns how many. Throws ValueError if offset is beyond the buffer, and
  /// BufferTooShort, which has the message, if it does not fit.
  std::size_t recv_bytes_into(std::span<std::byte> buffer, std::size_t offset = 0,
                              Timeout timeout = {});

  /// True when there is something to receive, the end of file included, now or
  /// within `timeout`. Takes nothing away.
  [[nodiscard]] bool poll(Timeout timeout = Duration::zero()) const;

  /// The descriptor; it belongs to the connection.
  [[nodiscard]] int fileno() const;
  /// Closes the end, for all copies in this process. Twice is once. A call in
  /// progress in another thread is not disturbed, nor waited for: the other end
  /// sees the end of file when that is through.
  void close();

  [[nodiscard]] bool closed() const noexcept;
  [[nodiscard]] bool readable() const noexcept;
  [[nodiscard]] bool writable() const noexcept;

  /// `<Connection fd=5>`, `<Connection fd=5 read-only>`, `<Connection closed>`.
  [[nodiscard]] std::string repr() const;

  /// The same end: true for copies only.
  friend bool operator==(const Connection&, const Connection&) = default;

  void pickle(Encoder& out) const;
  static Connection unpickle(Decoder& in);

 private:
  friend class Waitable;
  explicit Connection(std::shared_ptr<detail::Channel> channel) : channel_(std::move(channel)) {}

  using Pieces = std::span<const std::span<const std::byte>>;
  void send_object(Pieces pieces, std::span<const detail::UniqueFd> fds, std::uint64_t signature,
                   Timeout timeout);
  void recv_object(detail::Message& message, std::uint64_t signature, Timeout timeout);

  std::shared_ptr<detail::Channel> channel_;
};

/// A descriptor of any kind, as a value that can be sent: the receiver gets a
/// duplicate. Python: multiprocessing.reduction's DupFd, and its send_handle()
/// and recv_handle(): `c.send(DupFd(fd))` and `c.recv<DupFd>().detach()`.
class DupFd {
 public:
  /// Duplicates `fd`; the caller keeps its own.
  explicit DupFd(int fd);
  /// The duplicate; it belongs to this object and its copies.
  [[nodiscard]] int fileno() const noexcept { return fd_->get(); }
  /// The duplicate, handed over; the caller closes it.
  [[nodiscard]] int detach() noexcept { return fd_->release(); }

  void pickle(Encoder& out) const;
  static DupFd unpickle(Decoder& in);

 private:
  explicit DupFd(detail::UniqueFd fd) : fd_(std::make_shared<detail::UniqueFd>(std::move(fd))) {}
  std::shared_ptr<detail::UniqueFd> fd_;
};

/// Two connected ends. Duplex: each sends and receives. Otherwise the first
/// only receives and the second only sends. Throws std::system_error where
/// descriptors run out.
std::pair<Connection, Connection> Pipe(bool duplex = true);

class Waitable;

namespace detail {

/// What wait() asks of a thing that has no descriptor of its own that would
/// tell whether it is ready.
class WaitSource {
 public:
  WaitSource() = default;
  WaitSource(const WaitSource&) = delete;
  WaitSource& operator=(const WaitSource&) = delete;
  virtual ~WaitSource() = default;
  /// Asks to be told; returns a descriptor that turns readable when the
  /// thing may have become ready after this call.
  virtual int arm() = 0;
  /// Whether it is ready now.
  [[nodiscard]] virtual bool ready() = 0;
};

/// Positions of those that are ready, in ascending order.
std::vector<std::size_t> wait_indices(std::span<const Waitable> objects, Timeout timeout);

}  // namespace detail

/// Anything that wait() can wait for: a Connection (there is something to
/// receive), a queue (there is something to get), or a descriptor that turns
/// readable, such as a socket or a Process's sentinel.
class Waitable {
 public:
  Waitable(int fd) : fd_(fd) {}
  Waitable(const Connection& connection) : channel_(connection.channel_) {}
  template <class Queue>
  requires requires(const Queue& queue) {
    { queue.wait_source() } -> std::convertible_to<std::shared_ptr<detail::WaitSource>>;
  }
  Waitable(const Queue& queue) : source_(queue.wait_source()) {}

  friend bool operator==(const Waitable&, const Waitable&) = default;

 private:
  friend std::vector<std::size_t> detail::wait_indices(std::span<const Waitable>, Timeout);
  int fd_ = -1;
  std::shared_ptr<detail::Channel> channel_;
  std::shared_ptr<detail::WaitSource> source_;
};

/// Python's multiprocessing.connection; Client and Listener are in listener.hpp.
namespace connection {

using mp::Connection;
using mp::Pipe;

/// Those of `objects` that are ready, in their order, as soon as there is one;
/// empty if the time-out passes before. The end of file counts as ready.
/// Throws std::system_error (EBADF) for a closed connection or descriptor and
/// ValueError for a negative one and for a closed queue.
template <std::ranges::contiguous_range Range>
requires std::convertible_to < const std::ranges::range_value_t<Range>
&, Waitable > std::vector<std::ranges::range_value_t<Range>> wait(const Range& objects,
                                                                  Timeout timeout = {}) {
  const std::vector<Waitable> all(std::ranges::begin(objects), std::ranges::end(objects));
  std::vector<std::ranges::range_value_t<Range>> ready;
  for (const std::size_t index : detail::wait_indices(all, timeout)) {
    ready.push_back(std::ranges::begin(objects)[static_cast<std::ptrdiff_t>(index)]);
  }
  return ready;
}
inline std::vector<Waitable> wait(std::initializer_list<Waitable> objects, Timeout timeout = {}) {
  return wait(std::vector<Waitable>(objects), timeout);
}

}  // namespace connection

std::ostream& operator<<(std::ostream& out, const Connection& connection);

template <class T>
requires Picklable<detail::Stored<T>>
void Connection::send(const T& value, Timeout timeout) {
  using Value = detail::Stored<T>;
  if constexpr (detail::FlatValue<Value> && std::same_as<Value, T>) {
    const detail::FlatPieces<Value> flat(value);
    send_object(flat.get(), {}, detail::signature<Value>, timeout);
  } else {
    Encoder out;
    encode<Value>(out, value);
    const std::array pieces{out.view()};
    send_object(pieces, out.descriptors(), detail::signature<Value>, timeout);
  }
}

template <Picklable T>
T Connection::recv(Timeout timeout) {
  detail::Message message;
  recv_object(message, detail::signature<T>, timeout);
  Decoder in(message.bytes(), message.descriptors());
  T value = decode<T>(in);
  if (in.left() != 0) Decoder::malformed("bytes left over");
  return value;
}

}  // namespace mp

template <>
struct fmt::formatter<mp::Connection> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const mp::Connection& connection, Context& context) const {
    return fmt::formatter<std::string>::format(connection.repr(), context);
  }
};
