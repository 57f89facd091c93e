// The server's loop: sockets, frames, timers. What requests mean is in
// manager_requests.cpp, who may send any in manager_strangers.cpp.

#include "manager_server.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "manager_client.hpp"
#include "mp/logging.hpp"
#include "mp/process.hpp"
#include "mp/remote_error.hpp"

namespace mp::detail {

namespace {

constexpr std::size_t buffer_size = 64U << 10;
constexpr std::size_t reserved_at_once = 16U << 20;
constexpr std::size_t keep_encoder_below = 1U << 20;

}  // namespace

void control_epoll(int epoll, int operation, int fd, std::uint32_t events, void* data) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = data;
  check(::epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
}

ObjectServer::ObjectServer(Address address, AuthenticationString authkey, Registry registry,
                           ServerLimits limits)
    : address_(std::move(address)),
      authkey_(std::move(authkey)),
      registry_(std::move(registry)),
      limits_(limits),
      listening_(listen_at(address_, 512)),
      stop_(opened(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")),
      epoll_(opened(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      buffer_(buffer_size) {
  result_.emplace();
  control_epoll(epoll_.get(), EPOLL_CTL_ADD, listening_.get(), EPOLLIN, &listening_);
  control_epoll(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), EPOLLIN, &stop_);
  control_epoll(epoll_.get(), EPOLL_CTL_ADD, errands_->fileno(), EPOLLIN, &errands_);
}

ObjectServer::~ObjectServer() {
  for (const auto& [client, owner] : clients_) {
    unpark(*client);
    client->gone = true;
    give_back(*client);
  }
  if (const auto* path = std::get_if<UnixAddress>(&address_)) ::unlink(path->path.c_str());
}

void ObjectServer::serve() {
  log(logging::info, "manager serving at '{}'", to_string(address_));
  inside_server() = {&address_,
                     [](void* server, std::uint64_t id) -> std::shared_ptr<const void> {
                       return static_cast<ObjectServer*>(server)->find(id);
                     },
                     this};
  const TokenScope scope(nullptr);
  while (!stopping_) {
    wait_for_events();
    try {
      run_timers();
      bury();
    } catch (const std::exception& error) {
      log(logging::error, "a step of the manager's server failed: {}", error.what());
    }
  }
  inside_server() = {};
}

void ObjectServer::stop() noexcept {
  const std::uint64_t one = 1;
  // Eight bytes to an eventfd: all or, if it is full and so readable, nothing.
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof one);
}

void ObjectServer::wait_for_events() {
  std::array<epoll_event, 64> events{};
  int count = 0;
  const auto look = [&](int milliseconds) {
    count =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), milliseconds);
    if (count < 0 && errno != EINTR) throw_errno("epoll_wait");
    return count != 0;
  };
  const auto timer = next_timer();
  if (!spin_([&] { return look(0); })) {
    int milliseconds = -1;
    if (timer) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*timer - Clock::now());
      milliseconds = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000));
    }
    look(milliseconds);
  }
  for (int i = 0; i < count; ++i) {
    const auto& event = events.at(static_cast<std::size_t>(i));
    if (event.data.ptr == &listening_) {
      accept_some();
    } else if (event.data.ptr == &stop_) {
      stopping_ = true;
    } else if (event.data.ptr == &errands_) {
      errands_->deliver();
    } else {
      on_event(*static_cast<ServerClient*>(event.data.ptr), event.events);
    }
  }
}

void ObjectServer::on_event(ServerClient& client, std::uint32_t events) {
  try {
    if (!client.gone && (events & EPOLLOUT) != 0) flush(client);
    if (!client.gone && (events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) on_readable(client);
  } catch (const std::exception& error) {
    // No memory for what it sends, say: one client's end, not the server's.
    refuse(client, error.what());
  }
}

// --- requests ----------------------------------------------------------------

void ObjectServer::refuse(ServerClient& client, std::string_view why) {
  drop(client);
  log(logging::info, "refused a client from {}: {}", client.who, why);
}

void ObjectServer::on_readable(ServerClient& client) {
  if (client.handshake) return greet(client);
  if (client.input.size() >= sizeof(Frame)) return read_on(client);
  ssize_t n = 0;
  do {
    n = ::recv(client.socket.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return drop(client);
  if (client.waiter || !client.output.empty()) {
    return refuse(client, "a request before the reply to the last");
  }
  take_bytes(client, std::span(buffer_).first(static_cast<std::size_t>(n)));
}

// The rest of a request goes straight to where its beginning is. Its length is
// a claim: what is reserved for it is taken when it arrives.
void ObjectServer::read_on(ServerClient& client) {
  Frame frame;
  std::memcpy(&frame, client.input.data(), sizeof frame);
  const std::size_t total = sizeof frame + frame.size;
  const std::size_t before = client.input.size();
  client.input.reserve(std::min(total, std::max(reserved_at_once, 2 * before)));
  client.input.resize(std::min(total, client.input.capacity()));
  const ssize_t n = ::recv(client.socket.get(), client.input.data() + before,
                           client.input.size() - before, MSG_DONTWAIT);
  const int error = errno;
  client.input.resize(before + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  if (n < 0 && (error == EAGAIN || error == EINTR)) return;
  if (n <= 0) return drop(client);
  take_bytes(client, {});
}

// Requests that have all arrived are taken where they lie; the beginning of
// one is kept, in memory that grows as it arrives.
void ObjectServer::take_bytes(ServerClient& client, std::span<const std::byte> bytes) {
  if (!client.input.empty()) {
    client.input.append(bytes);
    bytes = client.input.bytes();
  }
  std::size_t used = 0;
  while (!client.gone && bytes.size() - used >= sizeof(Frame)) {
    Frame frame;
    std::memcpy(&frame, bytes.data() + used, sizeof frame);
    if (!frame.valid() || frame.kind != Frame::bytes_kind) {
      return refuse(client, "what it sent is no request");
    }
    if (frame.size > limits_.max_request) return refuse(client, "its request is too long");
    if (bytes.size() - used - sizeof frame < frame.size) break;
    if (client.waiter || !client.output.empty()) {
      return refuse(client, "a request before the reply to the last");
    }
    take_request(client, bytes.subspan(used + sizeof frame, frame.size));
    used += sizeof frame + frame.size;
  }
  if (client.gone) return;
  if (used == bytes.size()) {
    client.input = {};
  } else if (client.input.empty()) {
    client.input.append(bytes.subspan(used));
  } else {
    client.input.drop_front(used);
  }
}

void ObjectServer::take_request(ServerClient& client, std::span<const std::byte> bytes) {
  Decoder in(bytes);
  in.forbid_code();
  bool no_reply = false;
  ++requests_;
  result_->clear();
  result_->number(Reply::result);
  try {
    const auto request = in.number<Request>();
    no_reply =
        request == Request::release || request == Request::detach || request == Request::cancel;
    dispatch(client, request, in, no_reply);
  } catch (...) {
    result_->clear();
    result_->number(Reply::exception);
    encode_current_exception(*result_, current_process().name());
  }
  if (!no_reply && !client.gone) reply(client, *result_);
  if (result_->view().size() > keep_encoder_below) result_.emplace();
}

// --- replies -----------------------------------------------------------------

void ObjectServer::reply(ServerClient& client, const Encoder& result) {
  const auto bytes = result.view();
  Frame frame;
  frame.kind = Frame::bytes_kind;
  frame.size = bytes.size();
  std::array<iovec, 2> parts{iovec{&frame, sizeof frame},
                             iovec{const_cast<std::byte*>(bytes.data()), bytes.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  ssize_t n = ::sendmsg(client.socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0 && errno != EAGAIN && errno != EINTR) return drop(client);
  auto sent = static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  if (sent < sizeof frame + bytes.size()) {
    const auto* head = reinterpret_cast<const std::byte*>(&frame);
    client.output.assign(head, head + sizeof frame);
    client.output.insert(client.output.end(), bytes.begin(), bytes.end());
    client.output_sent = sent;
    watch(client, EPOLLOUT);
  }
}

void ObjectServer::flush(ServerClient& client) {
  while (client.output_sent < client.output.size()) {
    const ssize_t n =
        ::send(client.socket.get(), client.output.data() + client.output_sent,
               client.output.size() - client.output_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0 && errno != EINTR) return drop(client);
    client.output_sent += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  }
  client.output = {};
  watch(client, EPOLLIN);
}

void ObjectServer::watch(ServerClient& client, std::uint32_t events) {
  if (client.events == events) return;
  client.events = events;
  control_epoll(epoll_.get(), EPOLL_CTL_MOD, client.socket.get(), events, &client);
}

// --- the end of a client -----------------------------------------------------

// It may be anywhere on the stack, so it is taken away later.
void ObjectServer::drop(ServerClient& client) {
  if (client.gone) return;
  client.gone = true;
  gone_.push_back(&client);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, client.socket.get(), nullptr);
  client.socket.reset();
  no_stranger(client);
}

void ObjectServer::bury() {
  while (!gone_.empty()) {
    ServerClient* client = gone_.back();
    gone_.pop_back();
    unpark(*client);
    give_back(*client);
    if (client->session != nullptr && --client->session->connections == 0) {
      end_session(*client->session);
    }
    clients_.erase(client);
  }
}

void ObjectServer::unpark(ServerClient& client) {
  if (!client.waiter) return;
  if (client.waiter->queue != nullptr) client.waiter->queue->remove(*client.waiter);
  cancel_timer(*client.waiter);
  client.waiter.reset();
}

void ObjectServer::cancel_timer(Waiter& waiter) {
  if (waiter.deadline) timers_.erase({*waiter.deadline, &waiter});
  waiter.deadline.reset();
}

// --- what waits --------------------------------------------------------------

void ObjectServer::park(ServerClient& client, std::unique_ptr<Waiter> waiter) {
  client.waiter = std::move(waiter);
  if (client.waiter->deadline) timers_.emplace(*client.waiter->deadline, client.waiter.get());
}

bool ObjectServer::finish(Waiter& waiter, const Call::Attempt& write) {
  ServerClient& client = *waiter.client;
  if (client.gone) {
    unpark(client);
    return true;
  }
  // Not into result_: the call that woke this one is writing there.
  Encoder result;
  result.number(Reply::result);
  try {
    try {
      if (!write(result)) return false;
    } catch (...) {
      result.clear();
      result.number(Reply::exception);
      encode_current_exception(result, current_process().name());
    }
    unpark(client);
    reply(client, result);
  } catch (const std::exception& error) {
    // No memory for the reply, say: one client's end, not the server's.
    unpark(client);
    refuse(client, error.what());
  }
  return true;
}

std::optional<Clock::time_point> ObjectServer::next_timer() const {
  std::optional<Clock::time_point> next = accept_again_;
  const auto consider = [&](Clock::time_point time) { next = std::min(next.value_or(time), time); };
  if (!timers_.empty()) consider(timers_.begin()->first);
  if (!strangers_.empty()) consider(strangers_.front()->came + limits_.handshake_timeout);
  if (!lease_ends_.empty()) consider(lease_ends_.begin()->first);
  return next;
}

void ObjectServer::run_timers() {
  if (!next_timer()) return;
  const auto now = Clock::now();
  while (!strangers_.empty() && strangers_.front()->came + limits_.handshake_timeout <= now) {
    refuse(*strangers_.front(), "it did not prove itself in time");
  }
  if (accept_again_ && *accept_again_ <= now) {
    accept_again_.reset();
    control_epoll(epoll_.get(), EPOLL_CTL_MOD, listening_.get(), EPOLLIN, &listening_);
  }
  while (!lease_ends_.empty() && lease_ends_.begin()->first <= now) {
    // Out of the table first: the object's end may reach back into it.
    const auto lease = leases_.extract(lease_ends_.begin()->second);
    lease_ends_.erase(lease_ends_.begin());
  }
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Waiter& waiter = *timers_.begin()->second;
    timers_.erase(timers_.begin());
    waiter.deadline.reset();
    const ObjectPtr object = waiter.object;
    // Moved out: it may hand the waiter to another queue, which ends it.
    const Call::Attempt expire = std::move(waiter.expire);
    finish(waiter, expire);
  }
}

}  // namespace mp::detail
