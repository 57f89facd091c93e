#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "channel.hpp"
#include "mp/authentication.hpp"
#include "mp/detail/os.hpp"
#include "mp/listener.hpp"

namespace mp::detail {

/// No message of a handshake is longer; nothing longer is read from a stranger.
inline constexpr std::size_t max_handshake_message = 256;

/// "#CHALLENGE#{sha256}" and 40 random bytes.
std::string make_challenge();
/// The answer to a challenge. Throws AuthenticationError if it is none.
std::string answer_to(std::string_view challenge, const AuthenticationString& authkey);
/// Compares in a time that does not depend on where the two differ.
bool is_answer_to(std::string_view answer, std::string_view challenge,
                  const AuthenticationString& authkey);

inline constexpr std::string_view welcome = "#WELCOME#";
inline constexpr std::string_view failure = "#FAILURE#";

/// A listener's side of the handshake with one client, which never blocks: it
/// goes on as far as the bytes that are there allow, and takes none beyond.
class Handshake {
 public:
  /// Sends the challenge. `authkey` outlives it.
  Handshake(int socket, const AuthenticationString& authkey);

  /// True when both have proved that they have the key. Throws
  /// AuthenticationError, or EOFError if the client is gone.
  bool advance();
  /// Whether the client has proved that it has the key.
  [[nodiscard]] bool client_is_proved() const noexcept { return step_ != Step::answer; }

 private:
  enum class Step : unsigned char { answer, challenge, verdict };

  bool read_message();
  void send(std::string_view text) const;
  bool take(std::string_view message);

  int socket_;
  const AuthenticationString& authkey_;
  std::string challenge_ = make_challenge();
  Step step_ = Step::answer;
  std::size_t got_ = 0;
  std::array<std::byte, sizeof(Frame) + max_handshake_message> buffer_;
};

/// A socket that listens at `address`, which gets the port the system chose.
/// Non-blocking. A socket file left by a listener that is gone is replaced.
UniqueFd listen_at(Address& address, int backlog);
/// Accepts; empty when nobody is there (any more). `peer` may be null.
UniqueFd accept_client(int listening, std::optional<Address>* peer);
/// Connects within the deadline.
UniqueFd connect_to(const Address& address, const Deadline& deadline);
/// An abstract address that nobody else has.
Address unique_address();

}  // namespace mp::detail
