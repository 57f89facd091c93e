// Who knocks at the server: accepted, asked for a proof of the key, let in.

#include <sys/epoll.h>

#include <exception>
#include <utility>

#include "manager_server.hpp"
#include "mp/logging.hpp"

namespace mp::detail {

namespace {

constexpr std::size_t accepted_at_once = 64;

// A stranger has this long before another one may take its place: time enough
// for an honest one to answer.
constexpr auto undisturbed = std::chrono::seconds(1);
// After an error: what has run out, descriptors or memory, may be there again.
constexpr auto accept_pause = std::chrono::milliseconds(100);

}  // namespace

// Some at a time: who knocks without end holds up nobody who is in.
void ObjectServer::accept_some() {
  try {
    for (std::size_t i = 0; i < accepted_at_once; ++i) {
      if (!make_room()) return accept_again_at(strangers_.front()->came + undisturbed);
      if (!accept_one()) return;
    }
  } catch (const std::exception& error) {
    // Who knocks waits until there are descriptors or memory again.
    if (!std::exchange(accept_fails_, true)) {
      log(logging::error, "cannot accept a client: {}", error.what());
    }
    accept_again_at(Clock::now() + accept_pause);
  }
}

// However many knock, nobody is sent away at once for the next one: these wait.
bool ObjectServer::make_room() {
  if (strangers_.size() < limits_.max_strangers) return true;
  if (Clock::now() < strangers_.front()->came + undisturbed) return false;
  refuse(*strangers_.front(), "too many clients at the handshake");
  return true;
}

void ObjectServer::accept_again_at(Clock::time_point time) {
  accept_again_ = time;
  control_epoll(epoll_.get(), EPOLL_CTL_MOD, listening_.get(), 0, &listening_);
}

bool ObjectServer::accept_one() {
  std::optional<Address> peer;
  UniqueFd socket = accept_client(listening_.get(), &peer);
  if (!socket) return false;
  accept_fails_ = false;
  if (gone_.capacity() <= clients_.size()) gone_.reserve(2 * clients_.size() + 16);
  auto owner = std::make_unique<ServerClient>();
  ServerClient& client = *owner;
  client.socket = std::move(socket);
  client.who = peer ? to_string(*peer) : "this machine";
  client.came = Clock::now();
  clients_.emplace(&client, std::move(owner));
  try {
    meet(client);
  } catch (const std::exception& error) {
    refuse(client, error.what());
  }
  return true;
}

void ObjectServer::meet(ServerClient& client) {
  client.stranger = strangers_.insert(strangers_.end(), &client);
  client.is_stranger = true;
  client.events = EPOLLIN;
  control_epoll(epoll_.get(), EPOLL_CTL_ADD, client.socket.get(), EPOLLIN, &client);
  client.handshake = std::make_unique<Handshake>(client.socket.get(), authkey_);
}

void ObjectServer::greet(ServerClient& client) {
  const bool done = client.handshake->advance();
  if (client.handshake->client_is_proved()) no_stranger(client);
  if (done) client.handshake.reset();
}

void ObjectServer::no_stranger(ServerClient& client) {
  if (!client.is_stranger) return;
  client.is_stranger = false;
  strangers_.erase(client.stranger);
  if (accept_again_) accept_again_ = Clock::now();
}

}  // namespace mp::detail
