// What CPython's own suite checks of Listener, Client and their handshake, one
// test an id.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <mp/mp.hpp>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "children.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::ended;
using mp::test::patience;

class ListenerConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ListenerConformance);

const std::vector<mp::Address> every_family{mp::TcpAddress{"127.0.0.1", 0},
                                            mp::UnixAddress{"conformance.sock"},
                                            mp::AbstractAddress{"mp-conformance"}};

TEST_P(ListenerConformance, listener__abstract_socket) {
  mp::Listener listener(mp::parse_address("@mp-conformance-abstract"));
  auto child =
      start([](const mp::Address& address) { mp::Client(address).send(1); }, listener.address());
  EXPECT_EQ(listener.accept(patience).recv<int>(patience), 1);
  EXPECT_EQ(ended(child), 0);
  listener.close();
  EXPECT_THROW(listener.accept(), std::system_error);
}

TEST_P(ListenerConformance, listener__client_gone_before_accept) {
  mp::Listener listener;
  auto child =
      start([](const mp::Address& address) { mp::Client(address).send(std::string("hello")); },
            listener.address());
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(listener.accept(patience).recv<std::string>(patience), "hello");
}

TEST_P(ListenerConformance, connection__send_connections_and_sockets) {
  auto [here, there] = mp::Pipe();
  // The child accepts, and hands what it accepted to the parent.
  auto child = start(
      [](mp::Connection to_parent) {
        for (const mp::Address& address : every_family) {
          mp::Listener listener(address);
          to_parent.send(listener.address());
          to_parent.send(listener.accept());
        }
      },
      there);
  there.close();
  for (std::size_t i = 0; i < every_family.size(); ++i) {
    auto client = mp::Client(here.recv<mp::Address>(patience));
    client.send(std::string("data ") + std::to_string(i));
    auto accepted = here.recv<mp::Connection>(patience);
    EXPECT_EQ(accepted.recv<std::string>(patience), "data " + std::to_string(i));
  }
  EXPECT_EQ(ended(child), 0);
}

TEST(ListenerFamilies, listener__invalid_family) {
  for (const char* text : {"", "127.0.0.1:port", "127.0.0.1:99999"}) {
    EXPECT_THROW(mp::parse_address(text), mp::ValueError) << text;
  }
  EXPECT_THROW(mp::Listener(mp::UnixAddress{std::string(200, 'x')}), mp::ValueError);
}

TEST(ListenerSignals, listener__eintr_accept) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  mp::Listener listener;
  const pthread_t waiting = ::pthread_self();
  std::thread disturbing([&] {
    for (int i = 0; i < 50; ++i) {
      ::pthread_kill(waiting, SIGUSR1);
      std::this_thread::yield();
    }
    mp::Client(listener.address()).send(1);
  });
  EXPECT_EQ(listener.accept(patience).recv<int>(patience), 1);
  disturbing.join();
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(Authentication, auth__deliver_rejects_bogus) {
  auto [here, there] = mp::Pipe();
  there.send_bytes("something bogus");
  EXPECT_THROW(mp::connection::deliver_challenge(here, "key"), mp::AuthenticationError);
  const auto challenge = there.recv_bytes();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(challenge.data()), 19),
            "#CHALLENGE#{sha256}");
  const auto verdict = there.recv_bytes();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(verdict.data()), verdict.size()),
            "#FAILURE#");
  there.send_bytes("no challenge");
  EXPECT_THROW(mp::connection::answer_challenge(here, "key"), mp::AuthenticationError);
}

TEST(Authentication, auth__response_verifies) {
  auto [here, there] = mp::Pipe();
  std::thread other([&, there = there]() mutable {
    mp::connection::answer_challenge(there, "key");
    mp::connection::deliver_challenge(there, "key");
  });
  mp::connection::deliver_challenge(here, "key", patience);
  mp::connection::answer_challenge(here, "key", patience);
  other.join();
  // A known answer, so that it is HMAC-SHA256 and nothing of our own.
  there.send_bytes("#CHALLENGE#{sha256}01234567890123456789");
  there.send_bytes("#WELCOME#");
  mp::connection::answer_challenge(here, "key");
  const auto answer = there.recv_bytes();
  std::string hex;
  for (const std::byte byte : std::span(answer).subspan(8)) hex += fmt::format("{:02x}", byte);
  EXPECT_EQ(hex, "59606aecf00186f657bec4d7ec8d097e1fd7923e4725f6f0d690d486e8ee23c2");
}

TEST(Authentication, extra__authkey_mismatch_both_sides) {
  mp::Listener listener({.authkey = "server"});
  std::string client_says;
  std::thread client([&] {
    try {
      mp::Client(listener.address(), {.authkey = "client"});
    } catch (const mp::AuthenticationError& error) {
      client_says = error.what();
    }
  });
  try {
    listener.accept(patience);
    ADD_FAILURE() << "accepted";
  } catch (const mp::AuthenticationError& error) {
    EXPECT_STREQ(error.what(), "digest received was wrong");
  }
  client.join();
  EXPECT_EQ(client_says, "digest sent was rejected");
  std::thread right([&] { mp::Client(listener.address(), {.authkey = "server"}); });
  EXPECT_NO_THROW(listener.accept(patience));
  right.join();
}

}  // namespace
