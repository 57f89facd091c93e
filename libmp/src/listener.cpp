#include "mp/listener.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "handshake.hpp"
#include "mp/errors.hpp"

namespace mp {

namespace {

// Strangers that may be at the handshake at one time; the oldest goes first.
constexpr std::size_t max_strangers = 64;

struct Stranger {
  detail::UniqueFd socket;
  std::optional<Address> peer;
  detail::Handshake handshake;
  detail::Deadline deadline;

  Stranger(detail::UniqueFd fd, std::optional<Address> from, const ListenerOptions& options)
      : socket(std::move(fd)),
        peer(std::move(from)),
        handshake(socket.get(), *options.authkey),
        deadline(options.handshake_timeout) {}
};

void set_blocking(int fd) { detail::check(::fcntl(fd, F_SETFL, 0), "fcntl(F_SETFL)"); }

}  // namespace

struct Listener::State {
  Address address;
  ListenerOptions options;
  detail::UniqueFd socket;
  pid_t creator = detail::this_pid();
  std::atomic<bool> closed{false};
  detail::ForkSafeMutex mutex;  // One thread at a time accepts; it guards what follows.
  std::list<Stranger> strangers = {};
  mutable detail::ForkSafeMutex last_mutex;
  std::optional<Address> last_accepted = {};  // Under last_mutex.

  State(Address where, ListenerOptions with)
      : address(std::move(where)),
        options(std::move(with)),
        socket(detail::listen_at(address, options.backlog)) {}

  void require_open() const {
    if (closed) throw std::system_error(EBADF, std::generic_category(), "listener is closed");
  }

  // Whoever waits in accept() wakes up: a socket that was shut down is readable.
  void close() noexcept {
    if (closed.exchange(true)) return;
    // Both of these would be felt by the process that a fork's child is a copy of.
    if (creator == detail::this_pid()) {
      ::shutdown(socket.get(), SHUT_RDWR);
      const auto* path = std::get_if<UnixAddress>(&address);
      if (path != nullptr) ::unlink(path->path.c_str());
    }
    const std::lock_guard guard(mutex);
    socket.reset();
    strangers.clear();
  }

  Connection welcome(detail::UniqueFd client, std::optional<Address> peer) {
    {
      const std::lock_guard guard(last_mutex);
      last_accepted = std::move(peer);
    }
    set_blocking(client.get());
    return Connection(client.release());
  }

  void wait_for_anything(const detail::Deadline& deadline);
  std::optional<Connection> greet();
  std::optional<Connection> go_on(std::list<Stranger>::iterator stranger);
};

void Listener::State::wait_for_anything(const detail::Deadline& deadline) {
  std::vector<pollfd> entries{{socket.get(), POLLIN, 0}};
  Timeout left = deadline.remaining();
  for (const Stranger& stranger : strangers) {
    entries.push_back({stranger.socket.get(), POLLIN, 0});
    left = stranger.deadline.remaining_at_most(left.value_or(Duration::max()));
  }
  detail::poll_once(entries, left);
}

std::optional<Connection> Listener::State::greet() {
  std::optional<Address> peer;
  detail::UniqueFd client = detail::accept_client(socket.get(), &peer);
  if (!client) return std::nullopt;
  if (!options.authkey) return welcome(std::move(client), std::move(peer));
  if (strangers.size() >= max_strangers) strangers.pop_front();
  strangers.emplace_back(std::move(client), std::move(peer), options);
  return std::nullopt;
}

std::optional<Connection> Listener::State::go_on(std::list<Stranger>::iterator stranger) {
  try {
    if (!stranger->handshake.advance()) {
      if (!stranger->deadline.passed()) return std::nullopt;
      throw AuthenticationError("the client did not prove itself in time");
    }
    auto client = welcome(std::move(stranger->socket), std::move(stranger->peer));
    strangers.erase(stranger);
    return client;
  } catch (...) {
    strangers.erase(stranger);
    throw;
  }
}

Listener::Listener(ListenerOptions options)
    : Listener(detail::unique_address(), std::move(options)) {}
Listener::Listener(const Address& address, ListenerOptions options)
    : state_(std::make_unique<State>(address, std::move(options))) {}
Listener::Listener(Listener&&) noexcept = default;
Listener& Listener::operator=(Listener&& other) noexcept {
  if (this != &other) {
    close();
    state_ = std::move(other.state_);
  }
  return *this;
}
Listener::~Listener() { close(); }

Connection Listener::accept(Timeout timeout) {
  const detail::Deadline deadline(timeout);
  State& state = *state_;
  state.require_open();
  if (!state.mutex.lock_until(deadline)) throw TimeoutError("accept() ran out of time");
  const std::lock_guard guard(state.mutex, std::adopt_lock);
  for (;;) {
    state.require_open();
    for (auto it = state.strangers.begin(); it != state.strangers.end();) {
      if (auto client = state.go_on(it++)) return *std::move(client);
    }
    if (auto client = state.greet()) return *std::move(client);
    if (deadline.passed()) throw TimeoutError("accept() ran out of time");
    state.wait_for_anything(deadline);
  }
}

void Listener::close() noexcept {
  if (state_) state_->close();
}
const Address& Listener::address() const noexcept { return state_->address; }
std::optional<Address> Listener::last_accepted() const {
  const std::lock_guard guard(state_->last_mutex);
  return state_->last_accepted;
}
int Listener::fileno() const {
  state_->require_open();
  return state_->socket.get();
}

Connection Client(const Address& address, ClientOptions options) {
  const detail::Deadline deadline(options.timeout);
  Connection connection(detail::connect_to(address, deadline).release());
  if (options.authkey) {
    connection::answer_challenge(connection, *options.authkey, deadline.remaining());
    connection::deliver_challenge(connection, *options.authkey, deadline.remaining());
  }
  return connection;
}

}  // namespace mp
