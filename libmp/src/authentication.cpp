// The handshake of Python's multiprocessing.connection, with its one digest
// that matters: HMAC-SHA256, by libcrypto.

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "handshake.hpp"
#include "mp/errors.hpp"

namespace mp {
namespace detail {

namespace {

constexpr std::string_view challenge_prefix = "#CHALLENGE#";
constexpr std::string_view digest_prefix = "{sha256}";
constexpr std::size_t random_size = 40;
constexpr std::size_t least_random_size = 20;

// Over the digest's name, too, so that nobody talks the two into another one.
std::string hmac(const AuthenticationString& key, std::string_view message) {
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  if (::HMAC(EVP_sha256(), key.bytes().data(), static_cast<int>(key.bytes().size()),
             reinterpret_cast<const unsigned char*>(message.data()), message.size(),
             reinterpret_cast<unsigned char*>(digest.data()), &size) == nullptr) {
    throw AuthenticationError("libcrypto refused to compute an HMAC");
  }
  digest.resize(size);
  return digest;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::string make_challenge() {
  std::string challenge(challenge_prefix);
  challenge += digest_prefix;
  const std::size_t head = challenge.size();
  challenge.resize(head + random_size);
  // Up to 256 bytes come whole and uninterrupted.
  check(::getrandom(challenge.data() + head, random_size, 0), "getrandom");
  return challenge;
}

std::string answer_to(std::string_view challenge, const AuthenticationString& authkey) {
  if (!challenge.starts_with(challenge_prefix)) {
    throw AuthenticationError("Protocol error, expected challenge");
  }
  const std::string_view message = challenge.substr(challenge_prefix.size());
  if (!message.starts_with(digest_prefix)) {
    throw AuthenticationError("unsupported digest: this end knows sha256 only");
  }
  if (message.size() < digest_prefix.size() + least_random_size) {
    throw AuthenticationError("challenge too short");
  }
  return std::string(digest_prefix) + hmac(authkey, message);
}

bool is_answer_to(std::string_view answer, std::string_view challenge,
                  const AuthenticationString& authkey) {
  const std::string right = answer_to(challenge, authkey);
  return answer.size() == right.size() &&
         ::CRYPTO_memcmp(answer.data(), right.data(), right.size()) == 0;
}

// --- Handshake ---------------------------------------------------------------

Handshake::Handshake(int socket, const AuthenticationString& authkey)
    : socket_(socket), authkey_(authkey) {
  send(challenge_);
}

bool Handshake::advance() {
  while (read_message()) {
    const std::string_view message = text_of(std::span(buffer_).first(got_)).substr(sizeof(Frame));
    got_ = 0;
    if (take(message)) return true;
  }
  return false;
}

bool Handshake::take(std::string_view message) {
  switch (step_) {
    case Step::answer:
      if (!is_answer_to(message, challenge_, authkey_)) {
        send(failure);
        throw AuthenticationError("digest received was wrong");
      }
      send(welcome);
      step_ = Step::challenge;
      return false;
    case Step::challenge:
      send(answer_to(message, authkey_));
      step_ = Step::verdict;
      return false;
    case Step::verdict:
      if (message != welcome) throw AuthenticationError("digest sent was rejected");
      return true;
  }
  return false;
}

bool Handshake::read_message() {
  for (;;) {
    std::size_t wanted = sizeof(Frame);
    if (got_ >= sizeof(Frame)) {
      Frame frame;
      std::memcpy(&frame, buffer_.data(), sizeof frame);
      if (frame.kind != Frame::bytes_kind || !frame.valid() || frame.size > max_handshake_message) {
        throw AuthenticationError("the client speaks another protocol");
      }
      wanted += frame.size;
      if (got_ == wanted) return true;
    }
    const ssize_t n = ::recv(socket_, buffer_.data() + got_, wanted - got_, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno == ECONNRESET)) {
      throw EOFError("the client went away during the handshake");
    }
    if (n > 0) {
      got_ += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      return false;
    } else if (errno != EINTR) {
      throw_errno("recv");
    }
  }
}

void Handshake::send(std::string_view text) const {
  Frame frame;
  frame.kind = Frame::bytes_kind;
  frame.size = text.size();
  std::string bytes(reinterpret_cast<const char*>(&frame), sizeof frame);
  bytes += text;
  // A few hundred bytes in all always fit into an honest client's socket.
  const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n != static_cast<ssize_t>(bytes.size())) {
    throw EOFError("the client does not take what it is sent");
  }
}

}  // namespace detail

// --- over a connection -------------------------------------------------------

namespace connection {

void deliver_challenge(Connection& connection, const AuthenticationString& authkey,
                       Timeout timeout) {
  const detail::Deadline deadline(timeout);
  const std::string challenge = detail::make_challenge();
  connection.send_bytes(challenge, deadline.remaining());
  const auto answer = connection.recv_bytes(detail::max_handshake_message, deadline.remaining());
  if (!detail::is_answer_to(detail::text_of(answer), challenge, authkey)) {
    connection.send_bytes(detail::failure, deadline.remaining());
    throw AuthenticationError("digest received was wrong");
  }
  connection.send_bytes(detail::welcome, deadline.remaining());
}

void answer_challenge(Connection& connection, const AuthenticationString& authkey,
                      Timeout timeout) {
  const detail::Deadline deadline(timeout);
  const auto challenge = connection.recv_bytes(detail::max_handshake_message, deadline.remaining());
  connection.send_bytes(detail::answer_to(detail::text_of(challenge), authkey),
                        deadline.remaining());
  const auto verdict = connection.recv_bytes(detail::max_handshake_message, deadline.remaining());
  if (detail::text_of(verdict) != detail::welcome) {
    throw AuthenticationError("digest sent was rejected");
  }
}

}  // namespace connection
}  // namespace mp
