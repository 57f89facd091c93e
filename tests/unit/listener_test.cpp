#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <forked.hpp>
#include <mp/errors.hpp>
#include <mp/listener.hpp>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace mp {
namespace {

using namespace std::chrono_literals;
using test::Forked;
using test::patience;

// Connects and says nothing.
Connection silent_client(const Address& address) { return Client(address, {.timeout = patience}); }

class ListenerTest : public testing::TestWithParam<Address> {};

INSTANTIATE_TEST_SUITE_P(Families, ListenerTest,
                         testing::Values(Address(TcpAddress{"127.0.0.1", 0}),
                                         Address(TcpAddress{"localhost", 0}),
                                         Address(UnixAddress{"listener-test.sock"}),
                                         Address(AbstractAddress{"mp-listener-test"})));

TEST_P(ListenerTest, AClientWithTheKeyIsConnected) {
  Listener listener(GetParam(), {.authkey = "abracadabra"});
  Forked child([&] {
    auto connection = Client(listener.address(), {.authkey = "abracadabra"});
    connection.send(std::string("hello"));
    return connection.recv<int>() == 7 ? 0 : 1;
  });
  auto connection = listener.accept(patience);
  EXPECT_EQ(connection.recv<std::string>(patience), "hello");
  connection.send(7);
  EXPECT_EQ(child.wait(), 0);
}

TEST_P(ListenerTest, AnotherKeyIsRefusedAtBothEndsAndTheListenerGoesOn) {
  Listener listener(GetParam(), {.authkey = "right"});
  Forked child([&] {
    try {
      Client(listener.address(), {.authkey = "wrong"});
    } catch (const AuthenticationError& error) {
      if (std::string(error.what()) != "digest sent was rejected") return 1;
      Client(listener.address(), {.authkey = "right"});
      return 0;
    }
    return 2;
  });
  try {
    listener.accept(patience);
    ADD_FAILURE() << "accepted a wrong key";
  } catch (const AuthenticationError& error) {
    EXPECT_STREQ(error.what(), "digest received was wrong");
  }
  EXPECT_FALSE(listener.accept(patience).closed());
  EXPECT_EQ(child.wait(), 0);
}

TEST_P(ListenerTest, WithoutAKeyNobodyIsAsked) {
  Listener listener(GetParam());
  auto client = Client(listener.address());
  auto server = listener.accept(patience);
  client.send(1);
  EXPECT_EQ(server.recv<int>(patience), 1);
}

TEST_P(ListenerTest, TheAddressStaysKnownAfterClose) {
  Listener listener(GetParam());
  const Address address = listener.address();
  listener.close();
  listener.close();
  EXPECT_EQ(listener.address(), address);
  EXPECT_THROW(listener.accept(patience), std::system_error);
  EXPECT_THROW(Client(address), std::system_error);
}

TEST_P(ListenerTest, AFreedAddressCanBeHadAgainAtOnce) {
  Address address;
  {
    Listener first(GetParam());
    address = first.address();
    auto client = Client(address);
    auto server = first.accept(patience);
    server.close();  // Its side of the connection lingers on.
  }
  Listener second(address);
  EXPECT_EQ(second.address(), address);
}

TEST(ListenerAddressTest, TextIsParsedAndWrittenBack) {
  EXPECT_EQ(parse_address("127.0.0.1:50000"), Address(TcpAddress{"127.0.0.1", 50000}));
  EXPECT_EQ(parse_address(":80"), Address(TcpAddress{"", 80}));
  EXPECT_EQ(parse_address("[::1]:80"), Address(TcpAddress{"::1", 80}));
  EXPECT_EQ(parse_address("/run/x:1"), Address(UnixAddress{"/run/x:1"}));
  EXPECT_EQ(parse_address("@name"), Address(AbstractAddress{"name"}));
  EXPECT_EQ(parse_address(std::string_view("\0name", 5)), Address(AbstractAddress{"name"}));
  for (const char* text : {"127.0.0.1:50000", "[::1]:80", "/run/x", "@name"}) {
    EXPECT_EQ(to_string(parse_address(text)), text);
  }
  for (const char* text : {"", "host:", "host:port", "host:70000", "host:-1", "host:1x"}) {
    EXPECT_THROW(parse_address(text), ValueError) << text;
  }
}

TEST(ListenerAddressTest, EachAddressOfAHostIsTried) {
  // This machine has two: a client asks both, whichever the listener has.
  for (const char* host : {"127.0.0.1", "::1"}) {
    std::optional<Listener> listener;
    try {
      listener.emplace(TcpAddress{host, 0});
    } catch (const std::system_error&) {
      continue;  // A machine with one of the protocols only.
    }
    const auto port = std::get<TcpAddress>(listener->address()).port;
    auto client = Client(TcpAddress{"", port}, {.timeout = patience});
    client.send(1);
    EXPECT_EQ(listener->accept(patience).recv<int>(patience), 1) << host;
  }
}

TEST(ListenerAddressTest, ATakenAddressIsRefused) {
  Listener listener(TcpAddress{"127.0.0.1", 0});
  try {
    Listener second(listener.address());
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EADDRINUSE);
  }
}

TEST(ListenerAddressTest, ASocketFileGoesWithItsListenerAndAKilledOnesIsReplaced) {
  const Address address = UnixAddress{"left-over.sock"};
  {
    Listener listener(address);
    EXPECT_TRUE(std::filesystem::exists("left-over.sock"));
  }
  EXPECT_FALSE(std::filesystem::exists("left-over.sock"));
  test::Shared<test::Gate> listening;
  Forked child([&] {
    Listener listener(address);
    listening->open();
    for (;;) ::pause();
    return 0;
  });
  ASSERT_TRUE(listening->wait());
  EXPECT_THROW(Listener{address}, std::system_error);
  child.kill();
  EXPECT_TRUE(std::filesystem::exists("left-over.sock"));
  Listener listener(address);
  EXPECT_FALSE(Client(address).closed());
}

TEST(ListenerAddressTest, AForkedChildTakesNothingAwayFromItsParent) {
  Listener listener(UnixAddress{"parents.sock"});
  Forked child([&] {
    listener.close();
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  auto client = Client(listener.address());
  EXPECT_FALSE(listener.accept(patience).closed());
}

TEST(ListenerAddressTest, LastAcceptedIsThePeersAddress) {
  Listener listener(TcpAddress{"127.0.0.1", 0});
  EXPECT_FALSE(listener.last_accepted());
  auto client = Client(listener.address());
  auto server = listener.accept(patience);
  ASSERT_TRUE(listener.last_accepted());
  EXPECT_EQ(std::get<TcpAddress>(*listener.last_accepted()).host, "127.0.0.1");
}

TEST(ListenerWaitTest, AcceptRunsOutOfTime) {
  Listener listener;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(listener.accept(100ms), TimeoutError);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 100ms);
  EXPECT_THROW(listener.accept(-1ms), TimeoutError);
}

TEST(ListenerWaitTest, ASilentClientHoldsUpNobody) {
  Listener listener({.authkey = "key", .handshake_timeout = patience});
  auto silent = silent_client(listener.address());
  Forked child([&] {
    Client(listener.address(), {.authkey = "key"});
    return 0;
  });
  EXPECT_FALSE(listener.accept(patience).closed());
  EXPECT_EQ(child.wait(), 0);
}

TEST(ListenerWaitTest, ASilentClientIsDroppedAtItsDeadline) {
  Listener listener({.authkey = "key", .handshake_timeout = 100ms});
  auto silent = silent_client(listener.address());
  EXPECT_THROW(listener.accept(patience), AuthenticationError);
  EXPECT_NO_THROW(silent.recv_bytes({}, patience));  // The challenge it never answered.
  EXPECT_THROW(silent.recv_bytes({}, patience), EOFError);
}

TEST(ListenerWaitTest, AClientThatGoesAwayIsToldAndNoEnd) {
  Listener listener({.authkey = "key"});
  silent_client(listener.address()).close();
  EXPECT_THROW(listener.accept(patience), EOFError);
  EXPECT_THROW(listener.accept(0ms), TimeoutError);
}

TEST(ListenerWaitTest, GarbageAndEndlessLengthsAreRefused) {
  Listener listener({.authkey = "key"});
  for (const std::string& bytes :
       {std::string(24, '\xff'), std::string(24, '\0') + "xyz",
        // A well-formed head that promises 2^60 bytes.
        std::string("\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\x01\x42PM\0\0\0\0", 24)}) {
    auto stranger = silent_client(listener.address());
    ASSERT_EQ(::send(stranger.fileno(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    EXPECT_THROW(listener.accept(patience), AuthenticationError);
  }
}

TEST(ListenerWaitTest, TheClientHasADeadlineToo) {
  Listener listener;  // Nobody calls accept(), so no challenge comes.
  EXPECT_THROW(Client(listener.address(), {.authkey = "key", .timeout = 100ms}), TimeoutError);
}

TEST(ListenerWaitTest, CloseWakesWhoWaits) {
  Listener listener;
  std::atomic<bool> woken{false};
  std::thread waiter([&] {
    try {
      listener.accept(patience);
    } catch (const std::system_error&) {
      woken = true;
    }
  });
  listener.close();
  waiter.join();
  EXPECT_TRUE(woken);
}

TEST(ListenerWaitTest, WhatAClientSendsRightAfterTheHandshakeIsKept) {
  Listener listener({.authkey = "key"});
  Forked child([&] {
    auto connection = Client(listener.address(), {.authkey = "key"});
    connection.send(std::string("early"));
    return 0;
  });
  auto connection = listener.accept(patience);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(connection.recv<std::string>(patience), "early");
}

}  // namespace
}  // namespace mp
