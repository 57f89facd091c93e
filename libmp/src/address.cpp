// Addresses and the sockets behind them.

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "handshake.hpp"
#include "mp/errors.hpp"

namespace mp {

namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

[[noreturn]] void unrecognized(std::string_view text) {
  throw ValueError("address type of '" + std::string(text) + "' unrecognized");
}

}  // namespace

Address parse_address(std::string_view text) {
  if (text.starts_with('@') || text.starts_with('\0')) {
    return AbstractAddress{std::string(text.substr(1))};
  }
  if (text.empty()) unrecognized(text);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || text.find('/') != std::string_view::npos) {
    return UnixAddress{std::string(text)};
  }
  TcpAddress address;
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  address.host = host;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, address.port);
  if (error != std::errc() || stop != end || colon + 1 == text.size()) unrecognized(text);
  return address;
}

std::string to_string(const Address& address) {
  return std::visit(Overloaded{
                        [](const TcpAddress& tcp) {
                          const bool six = tcp.host.find(':') != std::string::npos;
                          return (six ? '[' + tcp.host + ']' : tcp.host) + ':' +
                                 std::to_string(tcp.port);
                        },
                        [](const UnixAddress& path) { return path.path; },
                        [](const AbstractAddress& abstract) { return '@' + abstract.name; },
                    },
                    address);
}

namespace detail {

namespace {

// A socket address as the system calls take it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] int family() const { return storage.ss_family; }
};

SocketAddress unix_address(std::string_view name, bool abstract) {
  SocketAddress result;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.size() + 1 > sizeof address.sun_path || name.empty()) {
    throw ValueError("a unix socket's name has 1 to 107 bytes");
  }
  std::memcpy(address.sun_path + (abstract ? 1 : 0), name.data(), name.size());
  std::memcpy(&result.storage, &address, sizeof address);
  result.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return result;
}

// All that a name stands for, in the order in which they are to be tried.
std::vector<SocketAddress> tcp_addresses(const TcpAddress& address, bool to_listen) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = to_listen ? AI_PASSIVE : 0;
  // One socket for every interface: the older protocol is there everywhere.
  if (to_listen && address.host.empty()) hints.ai_family = AF_INET;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                  std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) {
    const int number = error == EAI_SYSTEM ? errno : EADDRNOTAVAIL;
    throw_errno((to_string(address) + ": " + ::gai_strerror(error)).c_str(), number);
  }
  std::vector<SocketAddress> result;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    SocketAddress& one = result.emplace_back();
    std::memcpy(&one.storage, each->ai_addr, each->ai_addrlen);
    one.size = each->ai_addrlen;
  }
  ::freeaddrinfo(found);
  return result;
}

std::vector<SocketAddress> socket_addresses(const Address& address, bool to_listen) {
  using Found = std::vector<SocketAddress>;
  return std::visit(
      Overloaded{
          [&](const TcpAddress& tcp) { return tcp_addresses(tcp, to_listen); },
          [](const UnixAddress& path) { return Found{unix_address(path.path, false)}; },
          [](const AbstractAddress& abstract) { return Found{unix_address(abstract.name, true)}; },
      },
      address);
}

std::optional<Address> from_system(const sockaddr_storage& storage, socklen_t size) {
  std::array<char, NI_MAXHOST> host{};
  if (storage.ss_family == AF_UNIX) return std::nullopt;
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&storage), size, host.data(), host.size(),
                    nullptr, 0, NI_NUMERICHOST) != 0) {
    return std::nullopt;
  }
  std::uint16_t port = 0;
  // The port lies at the same place for both families.
  std::memcpy(&port, reinterpret_cast<const char*>(&storage) + offsetof(sockaddr_in, sin_port), 2);
  return TcpAddress{host.data(), ntohs(port)};
}

void set_option(int fd, int level, int option, int value) {
  check(::setsockopt(fd, level, option, &value, sizeof value), "setsockopt");
}

// Small messages go out at once; a peer whose machine is cut off is noticed.
void tune(int fd, int family) {
  if (family == AF_UNIX) return;
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

// A file that nobody listens behind is all that a killed listener leaves.
void remove_dead_socket(const SocketAddress& address, const std::string& path) {
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (probe && ::connect(probe.get(), address.get(), address.size) < 0 && errno == ECONNREFUSED) {
    ::unlink(path.c_str());
  }
}

}  // namespace

Address unique_address() {
  std::array<unsigned char, 16> random{};
  check(::getrandom(random.data(), random.size(), 0), "getrandom");
  std::string name = "mp-";
  for (const unsigned char byte : random) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  return AbstractAddress{std::move(name)};
}

UniqueFd listen_at(Address& address, int backlog) {
  const SocketAddress where = socket_addresses(address, true).front();
  if (const auto* path = std::get_if<UnixAddress>(&address)) remove_dead_socket(where, path->path);
  UniqueFd fd =
      opened(::socket(where.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
  // A port may be taken again while its last connections linger.
  if (where.family() != AF_UNIX) set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(fd.get(), where.get(), where.size) < 0) {
    throw_errno(("bind(" + to_string(address) + ")").c_str());
  }
  check(::listen(fd.get(), backlog), "listen");
  if (auto* tcp = std::get_if<TcpAddress>(&address)) {
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    check(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &size), "getsockname");
    const auto chosen = from_system(bound, size);
    if (chosen) tcp->port = std::get<TcpAddress>(*chosen).port;
  }
  return fd;
}

UniqueFd accept_client(int listening, std::optional<Address>* peer) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  UniqueFd fd;
  do {
    fd = above_stdio(::accept4(listening, reinterpret_cast<sockaddr*>(&storage), &size,
                               SOCK_CLOEXEC | SOCK_NONBLOCK));
  } while (!fd && errno == EINTR);
  if (!fd) {
    // A client that was there and is gone again is nobody's error; EINVAL is
    // what a socket says that was shut down to wake who waits on it.
    if (errno == EAGAIN || errno == ECONNABORTED || errno == EPROTO || errno == EINVAL) return {};
    throw_errno("accept");
  }
  tune(fd.get(), storage.ss_family);
  if (peer != nullptr) *peer = from_system(storage, size);
  return fd;
}

namespace {

// 0, or the error; EAGAIN when time ran out.
int connect_socket(int fd, const SocketAddress& where, const Deadline& deadline) {
  // The system's own time-out serves both families: of a unix socket whose
  // listener is busy no poll(2) tells when it may be tried again.
  timeval limit{};
  if (const Timeout left = deadline.remaining()) {
    limit.tv_sec = left->count() / 1'000'000'000;
    limit.tv_usec = left->count() % 1'000'000'000 / 1'000;
    if (limit.tv_sec == 0 && limit.tv_usec == 0) limit.tv_usec = 1;
    check(::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), "setsockopt");
  }
  int error = 0;
  do {
    error = ::connect(fd, where.get(), where.size) < 0 ? errno : 0;
  } while (error == EINTR && where.family() == AF_UNIX);
  if (error == EINTR) {
    // A TCP connection goes on by itself.
    if (!wait_fd(fd, POLLOUT, deadline)) return EAGAIN;
    socklen_t size = sizeof error;
    check(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), "getsockopt");
  }
  return error == EINPROGRESS ? EAGAIN : error;
}

}  // namespace

UniqueFd connect_to(const Address& address, const Deadline& deadline) {
  int error = 0;
  for (const SocketAddress& where : socket_addresses(address, false)) {
    UniqueFd fd = above_stdio(::socket(where.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    error = fd ? connect_socket(fd.get(), where, deadline) : errno;
    if (error == EAGAIN) {
      throw TimeoutError("connecting to " + to_string(address) + " ran out of time");
    }
    if (error != 0) continue;
    const timeval no_limit{};
    check(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &no_limit, sizeof no_limit),
          "setsockopt");
    tune(fd.get(), where.family());
    return fd;
  }
  throw_errno(("connect(" + to_string(address) + ")").c_str(), error);
}

}  // namespace detail
}  // namespace mp
