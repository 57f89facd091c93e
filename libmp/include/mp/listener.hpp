#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "mp/authentication.hpp"
#include "mp/connection.hpp"
#include "mp/detail/os.hpp"

/// Connections between programs that are not parent and child, on one machine
/// or over a network. Python: multiprocessing.connection's Listener and Client,
/// which mp::connection has, too. The kind of address says what Python's `family`
/// says; without an address Python makes up a socket file, here it is abstract.
namespace mp {

/// A port of a machine. As a listener's: port 0 is any free one, an empty host
/// every interface. As a client's: an empty host is this machine.
struct TcpAddress {
  std::string host = {};
  std::uint16_t port = 0;
  friend bool operator==(const TcpAddress&, const TcpAddress&) = default;
};
/// A socket in the file system, with the file's permissions.
struct UnixAddress {
  std::string path = {};
  friend bool operator==(const UnixAddress&, const UnixAddress&) = default;
};
/// A name that only this machine's kernel knows; it goes with its listener.
struct AbstractAddress {
  std::string name = {};
  friend bool operator==(const AbstractAddress&, const AbstractAddress&) = default;
};
using Address = std::variant<TcpAddress, UnixAddress, AbstractAddress>;

/// "host:port" and "[::1]:port" are TCP, "@name" (or a leading NUL) abstract,
/// everything else a path. Throws ValueError for what is none of these.
Address parse_address(std::string_view text);
/// The text that parse_address() takes.
std::string to_string(const Address& address);

struct ListenerOptions {
  int backlog = 128;  ///< Clients that may wait for accept(); Python has 1.
  std::optional<AuthenticationString> authkey = {};  ///< Empty: no authentication.
  Duration handshake_timeout =
      std::chrono::seconds(5);  ///< What a client may take to prove itself.
};

/// Waits for clients. Its address is not its children's to tidy up: a socket
/// file goes with the listener of the process that made it. Threads may share it.
class Listener {
 public:
  /// At an abstract address that nobody else has.
  explicit Listener(ListenerOptions options = {});
  /// Throws std::system_error if the address cannot be had, ValueError for a
  /// name in it that is empty or longer than 107 bytes.
  explicit Listener(const Address& address, ListenerOptions options = {});
  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) noexcept;
  ~Listener();

  /// The next client that has proved, if there is an authkey, to have it. While
  /// one is slow at that, others are served.
  ///
  /// Throws AuthenticationError for a client without the key or too slow, and
  /// EOFError for one that went away in between; the listener is good for the
  /// next. TimeoutError when `timeout` has passed; std::system_error after close().
  Connection accept(Timeout timeout = {});

  /// No more clients; those accepted stay connected. Twice is once.
  void close() noexcept;

  /// Where clients find it, with the port that the system chose; after close(), too.
  [[nodiscard]] const Address& address() const noexcept;
  /// The last client's: empty before the first, and for clients without one.
  [[nodiscard]] std::optional<Address> last_accepted() const;
  /// The listening socket: readable when a client is there. Belongs to the listener.
  [[nodiscard]] int fileno() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct ClientOptions {
  std::optional<AuthenticationString> authkey = {};
  Timeout timeout = std::chrono::seconds(5);  ///< For all of it, the handshake included.
};

/// Connects to a Listener, at whichever of a host's addresses one listens. With
/// an authkey both ends prove that they have it.
/// Throws std::system_error if nobody listens, AuthenticationError if the keys
/// differ, EOFError (or, while this sends, std::system_error EPIPE) if the
/// listener goes away, TimeoutError if it is too slow, std::system_error (EBADMSG
/// or EMSGSIZE) if it speaks another protocol, ValueError for a name that is empty
/// or longer than 107 bytes.
Connection Client(const Address& address, ClientOptions options = {});

namespace connection {

using mp::Client;
using mp::Listener;

/// Sends a random challenge and checks the answer: HMAC-SHA256 under the key,
/// in the form of Python's protocol. Throws AuthenticationError "digest
/// received was wrong", after telling the other end.
void deliver_challenge(Connection& connection, const AuthenticationString& authkey,
                       Timeout timeout = {});
/// The other side of it. Throws AuthenticationError "digest sent was rejected"
/// or, if what came is no challenge, "Protocol error, expected challenge".
void answer_challenge(Connection& connection, const AuthenticationString& authkey,
                      Timeout timeout = {});

}  // namespace connection
}  // namespace mp
