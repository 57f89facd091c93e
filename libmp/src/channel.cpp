#include "channel.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <system_error>
#include <utility>

#include "mp/errors.hpp"
#include "probe.hpp"

namespace mp::detail {

namespace {

constexpr std::size_t max_descriptors = Frame::max_descriptors;

// Memory is taken ahead of the bytes by this much at most, or by as much as
// has arrived already: a length is a claim, not a fact.
constexpr std::size_t trusted_size = 1U << 20;

[[noreturn]] void fail(int error, const char* text) {
  throw std::system_error(error, std::generic_category(), text);
}

int socket_option(int fd, int option, const char* call) {
  int value = 0;
  socklen_t size = sizeof value;
  check(::getsockopt(fd, SOL_SOCKET, option, &value, &size), call);
  return value;
}

// Room for the descriptors of one message, aligned as the kernel wants it.
struct alignas(cmsghdr) Control : std::array<std::byte, CMSG_SPACE(max_descriptors * sizeof(int))> {
};

void take_descriptors(msghdr& message, std::vector<UniqueFd>& fds) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  for (UniqueFd& fd : fds) fd = above_stdio(fd.release());
}

}  // namespace

void advance(msghdr& message, std::size_t bytes) noexcept {
  while (bytes > 0) {
    const std::size_t step = std::min(bytes, message.msg_iov->iov_len);
    message.msg_iov->iov_base = static_cast<std::byte*>(message.msg_iov->iov_base) + step;
    message.msg_iov->iov_len -= step;
    bytes -= step;
    if (message.msg_iov->iov_len == 0) {
      ++message.msg_iov;
      --message.msg_iovlen;
    }
  }
}

bool Frame::valid() const noexcept {
  if (size > max_size || descriptors > Frame::max_descriptors) return false;
  return kind == object_kind || (kind == bytes_kind && signature == 0 && descriptors == 0);
}

// --- FdUsers -----------------------------------------------------------------

namespace {

constexpr std::uint64_t closed_bit = std::uint64_t{1} << 31;

// The word as this process may read it: calls of before the fork are not here.
std::uint64_t of_this_process(std::uint64_t word) noexcept {
  const std::uint64_t mine = std::uint64_t{fork_generation()} << 32;
  return (word >> 32 << 32) == mine ? word : mine | (word & closed_bit);
}

}  // namespace

bool FdUsers::enter() noexcept {
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    next = of_this_process(seen);
    if ((next & closed_bit) != 0) return false;
    ++next;
  } while (!word_.compare_exchange_weak(seen, next, std::memory_order_acquire,
                                        std::memory_order_relaxed));
  return true;
}

bool FdUsers::leave() noexcept {
  const std::uint64_t before = word_.fetch_sub(1, std::memory_order_acq_rel);
  return (before & 0xffff'ffffU) == (closed_bit | 1U);
}

bool FdUsers::close() noexcept {
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    next = of_this_process(seen);
    if ((next & closed_bit) != 0) return false;
    next |= closed_bit;
  } while (!word_.compare_exchange_weak(seen, next, std::memory_order_acq_rel,
                                        std::memory_order_relaxed));
  return (next & 0xffff'ffffU) == closed_bit;
}

bool FdUsers::closed() const noexcept {
  return (word_.load(std::memory_order_acquire) & closed_bit) != 0;
}

// --- Channel -----------------------------------------------------------------

Channel::Use::Use(Channel& channel) : channel_(channel) {
  if (!channel_.users_.enter()) fail(EBADF, "handle is closed");
}

Channel::Use::~Use() {
  if (channel_.users_.leave()) channel_.fd_.reset();
}

Channel::Channel(UniqueFd fd, bool readable, bool writable)
    : fd_(std::move(fd)), readable_(readable), writable_(writable) {
  if (socket_option(fd_.get(), SO_TYPE, "Connection: getsockopt") != SOCK_STREAM) {
    fail(EPROTOTYPE, "Connection: not a stream socket");
  }
  carries_descriptors_ = socket_option(fd_.get(), SO_DOMAIN, "getsockopt") == AF_UNIX;
}

void Channel::close() noexcept {
  if (users_.close()) fd_.reset();
}

int Channel::fileno() const {
  if (users_.closed()) fail(EBADF, "handle is closed");
  return fd_.get();
}

void Channel::require_readable() const {
  if (!readable_) fail(EBADF, "connection is write-only");
}

void Channel::require_writable() const {
  if (!writable_) fail(EBADF, "connection is read-only");
}

bool Channel::poll(const Deadline& deadline) {
  const Use use(*this);
  require_readable();
  return wait_fd(fd_.get(), POLLIN, deadline);
}

// --- sending -----------------------------------------------------------------

void Channel::send(std::uint32_t kind, std::uint64_t signature, Pieces pieces,
                   std::span<const UniqueFd> fds, const Deadline& deadline) {
  const Use use(*this);
  require_writable();
  if (!fds.empty() && !carries_descriptors_) {
    throw PicklingError("descriptors travel over connections within one machine only");
  }
  if (fds.size() > max_descriptors) {
    throw PicklingError("more than 253 descriptors in one message");
  }
  Frame frame{0, signature, kind, static_cast<std::uint32_t>(fds.size())};
  std::array<iovec, 4> parts{};
  std::size_t count = 1;
  for (const auto piece : pieces) {
    frame.size += piece.size();
    parts.at(count++) = {const_cast<std::byte*>(piece.data()), piece.size()};
  }
  parts[0] = {&frame, sizeof frame};

  Control control;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  if (!fds.empty()) {
    // Descriptors ride on the first byte; the rest is a plain stream.
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    for (std::size_t i = 0; i < fds.size(); ++i) {
      const int fd = fds[i].get();
      std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  if (!write_mutex_.lock_until(deadline)) throw TimeoutError("send() ran out of time");
  const std::lock_guard guard(write_mutex_, std::adopt_lock);
  require_writable();
  write_message(message, sizeof frame + frame.size, deadline);
}

void Channel::write_message(msghdr& message, std::uint64_t size, const Deadline& deadline) {
  const int flags = MSG_NOSIGNAL | (deadline.never() ? 0 : MSG_DONTWAIT);
  std::uint64_t sent = 0;
  probe("channel.send.begun");
  while (sent < size) {
    const ssize_t n = ::sendmsg(fd_.get(), &message, flags);
    if (n < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      if (error == EAGAIN && wait_fd(fd_.get(), POLLOUT, deadline)) continue;
      // Half a message cannot be taken back, nor may another follow it.
      if (sent > 0) break_writing();
      if (error == EAGAIN) throw TimeoutError("send() ran out of time");
      throw_errno("send", error == ECONNRESET ? EPIPE : error);
    }
    probe("channel.send.sent");
    sent += static_cast<std::uint64_t>(n);
    message.msg_control = nullptr;
    message.msg_controllen = 0;
    advance(message, static_cast<std::size_t>(n));
  }
}

void Channel::break_writing() noexcept {
  writable_ = false;
  ::shutdown(fd_.get(), SHUT_WR);
}

// --- receiving ---------------------------------------------------------------

void Channel::break_reading(int error, const char* why) {
  readable_ = false;
  if (!writable_) close();
  fail(error, why);
}

std::size_t Channel::read_some(std::span<std::byte> target, bool with_fds,
                               const Deadline& deadline) {
  iovec part{target.data(), target.size()};
  Control control;
  msghdr message{};
  const auto try_once = [&](int flags) {
    if (!with_fds) return ::recv(fd_.get(), target.data(), target.size(), flags);
    message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    return ::recvmsg(fd_.get(), &message, flags | MSG_CMSG_CLOEXEC);
  };
  // Between messages a short look again may save the sleep; within one, the
  // rest is on its way and WAITALL saves calls.
  ssize_t n = -1;
  const bool again = with_fds && spin_([&] {
                       n = try_once(MSG_DONTWAIT);
                       return n >= 0 || (errno != EAGAIN && errno != EINTR);
                     });
  if (!again) n = try_once(deadline.never() ? (with_fds ? 0 : MSG_WAITALL) : MSG_DONTWAIT);
  while (n < 0) {
    if (errno == EAGAIN) {
      if (!wait_fd(fd_.get(), POLLIN, deadline)) throw TimeoutError("recv() ran out of time");
    } else if (errno == ECONNRESET) {
      // The other end went without reading all it was sent: gone is gone.
      return 0;
    } else if (errno != EINTR) {
      throw_errno("recv");
    }
    n = try_once(deadline.never() ? 0 : MSG_DONTWAIT);
  }
  if (with_fds) take_descriptors(message, incoming_.fds);
  return static_cast<std::size_t>(n);
}

void Channel::receive_frame(const Deadline& deadline) {
  require_readable();
  auto* bytes = reinterpret_cast<std::byte*>(&incoming_.frame);
  while (incoming_.frame_got < sizeof(Frame)) {
    const std::size_t n = read_some(
        {bytes + incoming_.frame_got, sizeof(Frame) - incoming_.frame_got}, true, deadline);
    if (n == 0 && incoming_.frame_got == 0) throw EOFError("the other end is closed");
    if (n == 0) fail(ECONNRESET, "got end of file during message");
    incoming_.frame_got += n;
  }
  if (!incoming_.frame.valid()) {
    incoming_ = {};
    break_reading(EBADMSG, "malformed message: the connection is closed for receiving");
  }
  probe("channel.recv.framed");
}

void Channel::read_exactly(std::span<std::byte> target, std::size_t& got,
                           const Deadline& deadline) {
  while (got < target.size()) {
    const std::size_t n = read_some(target.subspan(got), false, deadline);
    if (n == 0) fail(ECONNRESET, "got end of file during message");
    got += n;
  }
}

void Channel::receive_payload(const Deadline& deadline) {
  const std::uint64_t size = incoming_.frame.size;
  while (incoming_.got < size) {
    const std::uint64_t ahead = std::max<std::uint64_t>(trusted_size, incoming_.got * 2);
    incoming_.payload.resize(std::min<std::uint64_t>(size, ahead));
    read_exactly(incoming_.payload, incoming_.got, deadline);
  }
}

void Channel::receive_payload_into(std::span<std::byte> target, const Deadline& deadline) {
  if (incoming_.got > 0) {  // An earlier call ran out of time.
    receive_payload(deadline);
    std::copy(incoming_.payload.begin(), incoming_.payload.end(), target.begin());
    return;
  }
  try {
    read_exactly(target, incoming_.got, deadline);
  } catch (const TimeoutError&) {
    incoming_.payload.assign(target.begin(), target.end());
    throw;
  }
}

void Channel::receive_object(Message& out, std::uint64_t signature, const Deadline& deadline) {
  const Use use(*this);
  if (!read_mutex_.lock_until(deadline)) throw TimeoutError("recv() ran out of time");
  const std::lock_guard guard(read_mutex_, std::adopt_lock);
  receive_frame(deadline);
  const Frame frame = incoming_.frame;
  if (frame.size <= out.small_.size()) {
    receive_payload_into(std::span(out.small_).first(frame.size), deadline);
  } else {
    receive_payload(deadline);
    out.large_ = std::move(incoming_.payload);
  }
  probe("channel.recv.received");
  out.size_ = frame.size;
  out.fds_ = std::move(incoming_.fds);
  incoming_ = {};
  if (frame.kind == Frame::bytes_kind) {
    throw PicklingError("the message is no object: it was sent by send_bytes()");
  }
  if (frame.signature != signature) {
    throw PicklingError("the message is an object of another type");
  }
  if (out.fds_.size() != frame.descriptors) {
    throw PicklingError("the descriptors of the message did not all arrive");
  }
}

std::vector<std::byte> Channel::receive_bytes(std::optional<std::size_t> maxlength,
                                              const Deadline& deadline) {
  const Use use(*this);
  if (!read_mutex_.lock_until(deadline)) throw TimeoutError("recv_bytes() ran out of time");
  const std::lock_guard guard(read_mutex_, std::adopt_lock);
  receive_frame(deadline);
  if (maxlength && incoming_.frame.size > *maxlength) {
    incoming_ = {};
    break_reading(EMSGSIZE, "bad message length");
  }
  receive_payload(deadline);
  return std::exchange(incoming_, {}).payload;
}

std::size_t Channel::receive_into(std::span<std::byte> buffer, const Deadline& deadline) {
  const Use use(*this);
  if (!read_mutex_.lock_until(deadline)) throw TimeoutError("recv_bytes_into() ran out of time");
  const std::lock_guard guard(read_mutex_, std::adopt_lock);
  receive_frame(deadline);
  const std::size_t size = incoming_.frame.size;
  if (size > buffer.size()) {
    receive_payload(deadline);
    throw BufferTooShort(std::exchange(incoming_, {}).payload);
  }
  receive_payload_into(buffer.first(size), deadline);
  incoming_ = {};
  return size;
}

}  // namespace mp::detail
