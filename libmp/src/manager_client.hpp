#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "manager_wire.hpp"
#include "mp/authentication.hpp"
#include "mp/detail/remote.hpp"
#include "mp/listener.hpp"
#include "private_fd.hpp"
#include "spin.hpp"

namespace mp::detail {

/// One authenticated connection to a manager's server.
class Wire {
 public:
  /// A connection ends, for the server, when nobody has it any more: a forked
  /// child that kept its parent's would keep its parent's locks.
  explicit Wire(UniqueFd socket) : socket_(std::move(socket)) {}

  /// What is attached follows the request, in the same message.
  void send(const Encoder& request, std::span<const std::byte> attached = {});
  /// For what is short: false if the server is so far behind that until the
  /// deadline there is no room for it.
  bool send_by(const Deadline& deadline, const Encoder& request);
  /// One reply, into the call's own memory. TimeoutError at the deadline. After
  /// std::bad_alloc the reply has been read to its end, and is lost.
  void receive(RemoteCall& call, const Deadline& deadline = {});

  /// What the server takes in one request.
  void set_max_request(std::uint64_t bytes) noexcept { max_request_ = bytes; }
  /// Throws ValueError if the server would not take a request of so many.
  void require_allowed(std::size_t bytes) const;

 private:
  std::size_t read_some(std::span<std::byte> target, const Deadline& deadline);
  void discard(std::size_t size, const Deadline& deadline);

  PrivateFd socket_;
  std::uint64_t max_request_ = UINT64_MAX;
  AdaptiveSpin spin_;
};

/// What a process knows of one server: its address, the key, a connection
/// for each thread that talks to it, and the session they are of.
///
/// 1. Everything below mutex_ is touched under it, but a Wire by the thread
///    that has it.
/// 2. A session is one process, for the server: references are counted for
///    it. After a fork, the child begins a new one; the parent's connections
///    are closed in it before fork() returns.
/// 3. A thread that ends puts its connection among the idle ones, for others:
///    while the session has references it has a connection.
class ServerHandle : public std::enable_shared_from_this<ServerHandle> {
 public:
  /// The process's handle for that address; `key` counts if it is new.
  static std::shared_ptr<ServerHandle> at(const Address& address, const AuthenticationString& key);
  /// A new one: the server has just been started there.
  static std::shared_ptr<ServerHandle> fresh(const Address& address,
                                             const AuthenticationString& key);
  /// As at(), with the current process's key for a server not yet known.
  static std::shared_ptr<ServerHandle> at(const Address& address);

  ServerHandle(Address address, AuthenticationString key);
  ServerHandle(const ServerHandle&) = delete;
  ServerHandle& operator=(const ServerHandle&) = delete;
  ~ServerHandle();

  [[nodiscard]] const Address& address() const noexcept { return address_; }
  [[nodiscard]] const AuthenticationString& key() const noexcept { return key_; }
  [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }

  /// Sends and waits for the reply; throws what came as an exception, and
  /// TimeoutError at the deadline.
  Decoder& transact(RemoteCall& call, const Deadline& deadline = {});
  /// Gives back one reference, if this process's session has any connection.
  /// Waits for nobody.
  void release(std::uint64_t object, std::uint64_t born) noexcept;
  /// A lease was not sent after all.
  void cancel(std::uint64_t lease) noexcept;
  /// Gives back what could not be given back when it was released.
  void sweep_limbo();
  /// The server is to end: no connection of this process shall keep it.
  void close_connections() noexcept;
  /// A thread ends.
  void give_back(Wire* wire) noexcept;

 private:
  enum class OneWay : std::uint8_t { release, cancel };
  struct Unsent {
    OneWay request;
    std::uint64_t number;
  };

  Wire& wire(const Deadline& deadline);
  std::unique_ptr<Wire> connect(std::uint64_t session, const Deadline& limit);
  void drop(Wire* wire) noexcept;
  void begin_session_if_forked();
  void send_or_keep(Unsent message);
  void send_unsent(Wire& line);

  const Address address_;
  const AuthenticationString key_;
  const std::uint64_t serial_;
  ForkSafeMutex mutex_;
  std::uint32_t generation_ = 0;
  std::uint64_t session_ = 0;
  std::vector<std::unique_ptr<Wire>> wires_;  // Of living threads.
  std::vector<std::unique_ptr<Wire>> idle_;
  std::vector<Unsent> unsent_;  // For the next call: there was no connection for them.
  std::atomic<bool> has_unsent_{false};
  // Objects released here that a forked child which is alive may have
  // inherited, by the last start of a child before this process had them.
  std::multimap<std::uint64_t, std::uint64_t> limbo_;
};

/// Set in the thread that is a server: its own objects are at hand there.
struct InsideServer {
  const Address* address = nullptr;
  std::shared_ptr<const void> (*find)(void* server, std::uint64_t id) = nullptr;
  void* server = nullptr;
  std::uint32_t generation = fork_generation();
};
InsideServer& inside_server() noexcept;

/// What is entered under a name, for a server's own use.
struct AppliedEntryFacts {
  AppliedTo target = {};
  std::uint64_t signature = 0;
  AppliedFunction function = nullptr;
  bool ambiguous = false;  ///< Two functions of one name: in two files' unnamed namespaces.
};
const AppliedEntryFacts* find_applied(std::string_view name);

ObjectFacts decode_facts(Decoder& in);
void encode_facts(Encoder& out, const ObjectFacts& facts);

}  // namespace mp::detail
