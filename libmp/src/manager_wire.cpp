// Frames to a manager's server and back.

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>

#include <fmt/format.h>

#include "channel.hpp"
#include "manager_client.hpp"

namespace mp::detail {

namespace {

[[noreturn]] void server_is_gone() { throw EOFError("the manager's server is gone"); }

}  // namespace

void Wire::require_allowed(std::size_t bytes) const {
  if (bytes <= max_request_) return;
  throw ValueError(
      fmt::format("a request of {} bytes: the manager's server takes {}", bytes, max_request_));
}

bool Wire::send_by(const Deadline& deadline, const Encoder& request) {
  // A socket that is writable has room for a hundred bytes.
  if (!wait_fd(socket_.get(), POLLOUT, deadline)) return false;
  send(request);
  return true;
}

void Wire::send(const Encoder& request, std::span<const std::byte> attached) {
  if (!request.descriptors().empty()) {
    throw PicklingError("what holds descriptors cannot be sent to a manager");
  }
  const auto bytes = request.view();
  Frame frame;
  frame.kind = Frame::bytes_kind;
  frame.size = bytes.size() + attached.size();
  std::array<iovec, 3> parts{iovec{&frame, sizeof frame},
                             iovec{const_cast<std::byte*>(bytes.data()), bytes.size()},
                             iovec{const_cast<std::byte*>(attached.data()), attached.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = attached.empty() ? 2 : 3;
  std::size_t left = sizeof frame + frame.size;
  while (left > 0) {
    const ssize_t n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE || errno == ECONNRESET) server_is_gone();
      throw_errno("sendmsg");
    }
    left -= static_cast<std::size_t>(n);
    advance(message, static_cast<std::size_t>(n));
  }
}

std::size_t Wire::read_some(std::span<std::byte> target, const Deadline& deadline) {
  ssize_t n = -1;
  const bool there = spin_([&] {
    n = ::recv(socket_.get(), target.data(), target.size(), MSG_DONTWAIT);
    return n >= 0 || errno != EAGAIN;
  });
  if (!there && !deadline.never() && !wait_fd(socket_.get(), POLLIN, deadline)) {
    throw TimeoutError("the manager's server does not answer");
  }
  if (!there) n = ::recv(socket_.get(), target.data(), target.size(), 0);
  while (n < 0 && errno == EINTR) n = ::recv(socket_.get(), target.data(), target.size(), 0);
  if (n == 0 || (n < 0 && (errno == ECONNRESET || errno == ETIMEDOUT))) server_is_gone();
  check(n, "recv");
  return static_cast<std::size_t>(n);
}

void Wire::discard(std::size_t size, const Deadline& deadline) {
  std::array<std::byte, 4096> nowhere;
  while (size > 0)
    size -= read_some(std::span(nowhere).first(std::min(size, nowhere.size())), deadline);
}

// One reply at a time is on the way, so whatever there is belongs to it.
void Wire::receive(RemoteCall& call, const Deadline& deadline) {
  std::size_t got = 0;
  while (got < sizeof(Frame)) got += read_some(std::span(call.small_).subspan(got), deadline);
  Frame frame;
  std::memcpy(&frame, call.small_.data(), sizeof frame);
  if (!frame.valid() || frame.kind != Frame::bytes_kind) {
    throw_errno("the manager's reply is malformed", EBADMSG);
  }
  const std::size_t total = sizeof frame + frame.size;
  std::span<const std::byte> bytes;
  if (total <= call.small_.size()) {
    while (got < total) {
      got += read_some(std::span(call.small_).first(total).subspan(got), deadline);
    }
    bytes = std::span(call.small_).first(total);
  } else {
    try {
      const auto first = call.small_.begin();
      call.large_.assign(first, first + static_cast<std::ptrdiff_t>(got));
      while (got < total) {
        // A length is a claim: memory is taken as bytes arrive.
        call.large_.resize(std::min(total, std::max<std::size_t>(got * 2, 1U << 20)));
        while (got < call.large_.size()) {
          got += read_some(std::span(call.large_).subspan(got), deadline);
        }
      }
    } catch (const std::bad_alloc&) {
      discard(total - got, deadline);
      throw;
    }
    bytes = call.large_;
  }
  call.reply_.emplace(bytes.subspan(sizeof frame));
  call.reply_->forbid_code();
}

}  // namespace mp::detail
