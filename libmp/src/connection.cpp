#include "mp/connection.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <ostream>
#include <system_error>
#include <utility>

#include "channel.hpp"

namespace mp {

namespace {

detail::UniqueFd checked_fd(int fd, bool readable, bool writable) {
  if (fd < 0) throw ValueError("invalid handle");
  detail::UniqueFd owned(fd);
  if (!readable && !writable) {
    throw ValueError("at least one of readable and writable must be true");
  }
  return owned;
}

}  // namespace

// --- Connection --------------------------------------------------------------

Connection::Connection(int fd, bool readable, bool writable)
    : channel_(std::make_shared<detail::Channel>(checked_fd(fd, readable, writable), readable,
                                                 writable)) {}

void Connection::send_object(Pieces pieces, std::span<const detail::UniqueFd> fds,
                             std::uint64_t signature, Timeout timeout) {
  channel_->send(detail::Frame::object_kind, signature, pieces, fds, detail::Deadline(timeout));
}

void Connection::recv_object(detail::Message& message, std::uint64_t signature, Timeout timeout) {
  channel_->receive_object(message, signature, detail::Deadline(timeout));
}

void Connection::send_bytes(BytesView bytes, Timeout timeout) {
  send_bytes(bytes, 0, bytes.size(), timeout);
}

void Connection::send_bytes(BytesView bytes, std::size_t offset, std::optional<std::size_t> size,
                            Timeout timeout) {
  if (offset > bytes.size()) throw ValueError("buffer length < offset");
  if (size.value_or(0) > bytes.size() - offset) throw ValueError("buffer length < offset + size");
  const std::array pieces{bytes.subspan(offset, size.value_or(bytes.size() - offset))};
  channel_->send(detail::Frame::bytes_kind, 0, pieces, {}, detail::Deadline(timeout));
}

std::vector<std::byte> Connection::recv_bytes(std::optional<std::size_t> maxlength,
                                              Timeout timeout) {
  return channel_->receive_bytes(maxlength, detail::Deadline(timeout));
}

std::size_t Connection::recv_bytes_into(std::span<std::byte> buffer, std::size_t offset,
                                        Timeout timeout) {
  if (offset > buffer.size()) throw ValueError("offset too large");
  return channel_->receive_into(buffer.subspan(offset), detail::Deadline(timeout));
}

bool Connection::poll(Timeout timeout) const { return channel_->poll(detail::Deadline(timeout)); }
int Connection::fileno() const { return channel_->fileno(); }
void Connection::close() { channel_->close(); }
bool Connection::closed() const noexcept { return channel_->closed(); }
bool Connection::readable() const noexcept { return channel_->readable(); }
bool Connection::writable() const noexcept { return channel_->writable(); }

std::string Connection::repr() const {
  if (closed()) return "<Connection closed>";
  const char* direction = !writable() ? " read-only" : !readable() ? " write-only" : "";
  return fmt::format("<Connection fd={}{}>", channel_->fileno(), direction);
}

std::ostream& operator<<(std::ostream& out, const Connection& connection) {
  return out << connection.repr();
}

void Connection::pickle(Encoder& out) const {
  const detail::Channel::Use use(*channel_);
  out.descriptor(channel_->fileno());
  out.number(readable());
  out.number(writable());
}

Connection Connection::unpickle(Decoder& in) {
  detail::UniqueFd fd = in.descriptor();
  const bool readable = in.number<bool>();
  const bool writable = in.number<bool>();
  if (!readable && !writable) Decoder::malformed("a connection open in no direction");
  return Connection(fd.release(), readable, writable);
}

DupFd::DupFd(int fd) : fd_(std::make_shared<detail::UniqueFd>(detail::UniqueFd::duplicate(fd))) {}

void DupFd::pickle(Encoder& out) const { out.descriptor(fileno()); }
DupFd DupFd::unpickle(Decoder& in) { return DupFd(in.descriptor()); }

std::pair<Connection, Connection> Pipe(bool duplex) {
  // A socket pair in both cases: descriptors travel over nothing else.
  std::array<int, 2> fds{};
  detail::check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), "socketpair");
  auto [first, second] = detail::above_stdio(fds);
  return {Connection(first.release(), true, duplex), Connection(second.release(), duplex, true)};
}

// --- wait --------------------------------------------------------------------

namespace {

// A poll over descriptors and sources, kept whole while it is repeated.
class Waiting {
 public:
  void add_fd(int fd, short events) { entries_.push_back({fd, events, 0}); }
  void add_source(detail::WaitSource& source) {
    sources_.emplace_back(entries_.size(), &source);
    add_fd(-1, POLLIN);
  }

  std::vector<std::size_t> run(const detail::Deadline& deadline) {
    for (;;) {
      bool ready = arm_sources();
      // Whoever was told of a source's change may have been killed before it
      // passed the word on, so a source is looked at now and then unasked.
      const Timeout slice = sources_.empty()
                                ? deadline.remaining()
                                : Timeout(deadline.remaining_at_most(look_again_after));
      ready = detail::poll_once(entries_, ready ? Timeout(Duration::zero()) : slice) > 0 || ready;
      if (ready) {
        if (auto found = collect(); !found.empty()) return found;
      }
      if (deadline.passed()) return {};
    }
  }

 private:
  static constexpr Duration look_again_after = std::chrono::milliseconds(50);

  bool arm_sources() {
    bool ready = false;
    for (auto& [index, source] : sources_) {
      entries_[index].fd = source->arm();
      ready = source->ready() || ready;
    }
    return ready;
  }

  std::vector<std::size_t> collect() {
    for (auto& [index, source] : sources_) {
      entries_[index].revents = source->ready() ? POLLIN : 0;
    }
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if ((entries_[i].revents & POLLNVAL) != 0) detail::throw_errno("wait", EBADF);
      if (entries_[i].revents != 0) found.push_back(i);
    }
    return found;
  }

  std::vector<pollfd> entries_;
  std::vector<std::pair<std::size_t, detail::WaitSource*>> sources_;
};

}  // namespace

std::vector<std::size_t> detail::wait_indices(std::span<const Waitable> objects, Timeout timeout) {
  Waiting waiting;
  std::vector<std::unique_ptr<detail::Channel::Use>> in_use;
  for (const Waitable& object : objects) {
    if (object.channel_) {
      in_use.push_back(std::make_unique<detail::Channel::Use>(*object.channel_));
      waiting.add_fd(object.channel_->fileno(),
                     static_cast<short>(object.channel_->readable() ? POLLIN : 0));
    } else if (object.source_) {
      waiting.add_source(*object.source_);
    } else if (object.fd_ < 0) {
      throw ValueError("invalid handle");
    } else {
      waiting.add_fd(object.fd_, POLLIN);
    }
  }
  if (objects.empty() && !timeout) return {};
  return waiting.run(detail::Deadline(timeout));
}

}  // namespace mp
