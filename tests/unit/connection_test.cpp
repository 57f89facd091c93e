#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <numeric>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <mp/connection.hpp>

#include "calls.hpp"
#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::Connection;
using mp::test::error_of;
using mp::test::Forked;
using mp::test::text_of;

struct Point {
  int x = 0;
  double y = 0;
  friend bool operator==(const Point&, const Point&) = default;
};

std::pair<Connection, mp::detail::UniqueFd> pipe_with_raw_end() {
  std::array<int, 2> fds{};
  mp::detail::check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), "socketpair");
  return {Connection(fds[0]), mp::detail::UniqueFd(fds[1])};
}

struct RawFrame {
  std::uint64_t size = 0;
  std::uint64_t signature = 0;
  std::uint32_t kind = 0x4d504201;
  std::uint32_t descriptors = 0;
};

void write_raw(int fd, const void* data, std::size_t size) {
  ASSERT_EQ(::write(fd, data, size), static_cast<ssize_t>(size));
}

TEST(ConnectionTest, ValuesOfAllKindsArriveAsTheyWere) {
  auto [a, b] = mp::Pipe();
  a.send(42);
  a.send("text");
  a.send(std::string());
  a.send(Point{1, 2.5});
  a.send(std::map<std::string, std::vector<double>>{{"k", {1, 2}}});
  a.send(std::vector<int>(1000, 7));
  EXPECT_EQ(b.recv<int>(), 42);
  EXPECT_EQ(b.recv<std::string>(), "text");
  EXPECT_EQ(b.recv<std::string>(), "");
  EXPECT_EQ(b.recv<Point>(), (Point{1, 2.5}));
  EXPECT_EQ((b.recv<std::map<std::string, std::vector<double>>>().at("k")[1]), 2);
  EXPECT_EQ(b.recv<std::vector<int>>(), std::vector<int>(1000, 7));
}

TEST(ConnectionTest, BytesOfEverySizeAroundTheBordersArrive) {
  auto [a, b] = mp::Pipe();
  for (const std::size_t size : {0, 1, 255, 256, 257, 65536, (1 << 20) - 1, (1 << 20) + 1}) {
    std::vector<std::byte> sent(size, std::byte{0x5a});
    std::thread sender([&, &a = a] { a.send_bytes(sent); });
    EXPECT_EQ(b.recv_bytes(), sent);
    sender.join();
  }
}

TEST(ConnectionTest, AValueOfAnotherTypeIsAnErrorAndTheNextOneIsFine) {
  auto [a, b] = mp::Pipe();
  a.send(1);
  a.send_bytes("raw");
  a.send(2.5);
  EXPECT_THROW(b.recv<std::string>(), mp::PicklingError);
  EXPECT_THROW(b.recv<int>(), mp::PicklingError);
  EXPECT_EQ(b.recv<double>(), 2.5);
}

TEST(ConnectionTest, RecvWithTimeoutEndsInTimeAndLosesNothing) {
  auto [a, b] = mp::Pipe();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(b.recv<int>(20ms), mp::TimeoutError);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 20ms);
  EXPECT_THROW(b.recv<int>(0ms), mp::TimeoutError);
  EXPECT_THROW(b.recv<int>(-1s), mp::TimeoutError);
  a.send(5);
  EXPECT_EQ(b.recv<int>(20ms), 5);
}

TEST(ConnectionTest, AMessageHalfReceivedAtTheDeadlineIsCompletedByTheNextReceive) {
  auto [connection, raw] = pipe_with_raw_end();
  for (const std::size_t size : {std::size_t{8}, std::size_t{1000}}) {
    const std::vector<char> body(size, 'b');
    const RawFrame frame{.size = size};
    write_raw(raw.get(), &frame, 10);
    EXPECT_THROW(connection.recv_bytes({}, 1ms), mp::TimeoutError);
    write_raw(raw.get(), reinterpret_cast<const char*>(&frame) + 10, sizeof frame - 10);
    write_raw(raw.get(), body.data(), 5);
    std::vector<std::byte> buffer(size);
    EXPECT_THROW(connection.recv_bytes_into(buffer, 0, 1ms), mp::TimeoutError);
    write_raw(raw.get(), body.data() + 5, size - 5);
    EXPECT_EQ(connection.recv_bytes_into(buffer), size);
    EXPECT_EQ(buffer, std::vector<std::byte>(size, std::byte{'b'}));
  }
}

TEST(ConnectionTest, ASendThatRunsOutOfTimeInAMessageClosesTheEndForSending) {
  auto [a, b] = mp::Pipe();
  const std::vector<std::byte> large(8 << 20);
  EXPECT_THROW(a.send_bytes(large, 10ms), mp::TimeoutError);
  EXPECT_FALSE(a.writable());
  EXPECT_TRUE(a.readable());
  EXPECT_EQ(error_of([&, &a = a] { a.send(1); }), EBADF);
  EXPECT_EQ(text_of([&, &b = b] { b.recv_bytes(); }),
            "got end of file during message: Connection reset by peer");
}

TEST(ConnectionTest, ASendThatRunsOutOfTimeBetweenMessagesHarmsNothing) {
  auto [a, b] = mp::Pipe();
  int sent = 0;
  try {
    for (;; ++sent) a.send_bytes(std::string(1000, 'x'), 1ms);
  } catch (const mp::TimeoutError&) {
  }
  ASSERT_TRUE(a.writable()) << "a message of one kernel buffer is sent whole or not at all";
  for (int i = 0; i < sent; ++i) b.recv_bytes();
  a.send(1);
  EXPECT_EQ(b.recv<int>(), 1);
}

TEST(ConnectionTest, TheEndOfTheOtherSideIsEndOfFileAfterWhatItSent) {
  auto [a, b] = mp::Pipe();
  a.send(1);
  b.send(2);  // Never read: the kernel reports a reset, which is the end as well.
  a.close();
  EXPECT_EQ(b.recv<int>(), 1);
  EXPECT_TRUE(b.poll());
  EXPECT_THROW(b.recv<int>(), mp::EOFError);
  EXPECT_THROW(b.recv_bytes(), mp::EOFError);
  EXPECT_TRUE(b.readable());
  EXPECT_EQ(error_of([&, &b = b] { b.send(1); }), EPIPE);
}

TEST(ConnectionTest, CopiesAreOneEndAndCloseClosesThemAll) {
  auto [a, b] = mp::Pipe();
  Connection copy = a;
  EXPECT_EQ(copy, a);
  EXPECT_NE(copy, b);
  const int fd = a.fileno();
  copy.close();
  copy.close();
  EXPECT_TRUE(a.closed());
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
  EXPECT_EQ(text_of([&, &a = a] { (void)a.fileno(); }), "handle is closed: Bad file descriptor");
  EXPECT_EQ(error_of([&, &a = a] { a.send(1); }), EBADF);
  EXPECT_EQ(error_of([&, &a = a] { (void)a.poll(); }), EBADF);
  EXPECT_THROW(b.recv<int>(), mp::EOFError);
}

TEST(ConnectionTest, CloseBesideACallOfAnotherThreadIsSafe) {
  auto [a, b] = mp::Pipe();
  int got = 0;
  std::thread reader([&, &b = b] {
    if (error_of([&] { got = b.recv<int>(); }) == EBADF) got = -1;
  });
  b.close();
  try {
    a.send(9);
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EPIPE);
  }
  reader.join();
  EXPECT_TRUE(got == 9 || got == -1) << "the call was completed, or came too late";
}

TEST(ConnectionTest, AForkedChildClosesItsCopyThoughAThreadOfTheParentWasReading) {
  auto [a, b] = mp::Pipe();
  std::thread reader([&b = b] { EXPECT_THROW(b.recv<int>(), mp::EOFError); });
  Forked child([&, &b = b] {
    const int fd = b.fileno();
    b.close();
    return ::fcntl(fd, F_GETFD) == -1 ? 0 : 1;
  });
  EXPECT_EQ(child.wait(), 0);
  a.close();
  reader.join();
}

TEST(ConnectionTest, DirectionsThatAreNotOpenRefuse) {
  auto [reader, writer] = mp::Pipe(false);
  EXPECT_TRUE(reader.readable() && !reader.writable());
  EXPECT_TRUE(writer.writable() && !writer.readable());
  EXPECT_EQ(text_of([&, &r = reader] { r.send(1); }),
            "connection is read-only: Bad file descriptor");
  EXPECT_EQ(text_of([&, &w = writer] { w.recv<int>(); }),
            "connection is write-only: Bad file descriptor");
  EXPECT_EQ(error_of([&, &w = writer] { (void)w.poll(); }), EBADF);
}

TEST(ConnectionTest, ThreadsThatShareAnEndNeverMixMessages) {
  auto [a, b] = mp::Pipe();
  constexpr int each = 200;
  const auto send_many = [&a = a](char letter) {
    for (int i = 0; i < each; ++i) a.send_bytes(std::string(3000 + i, letter));
  };
  std::atomic<int> torn = 0;
  const auto receive_many = [&torn, &b = b] {
    for (int i = 0; i < each; ++i) {
      const auto bytes = b.recv_bytes();
      for (const std::byte byte : bytes) torn += byte != bytes.front() ? 1 : 0;
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back(send_many, 'x');
  threads.emplace_back(send_many, 'y');
  threads.emplace_back(receive_many);
  threads.emplace_back(receive_many);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(torn, 0);
  EXPECT_FALSE(b.poll());
}

TEST(ConnectionTest, ConnectionsAndDescriptorsTravelInMessages) {
  auto [a, b] = mp::Pipe();
  auto [c, d] = mp::Pipe(false);
  a.send(std::pair(c, std::string("reader")));
  a.send(mp::DupFd(d.fileno()));
  d.close();
  auto [received, name] = b.recv<std::pair<Connection, std::string>>();
  EXPECT_EQ(name, "reader");
  EXPECT_TRUE(received.readable() && !received.writable());
  Connection writer(b.recv<mp::DupFd>().detach(), false, true);
  writer.send("through a descriptor that travelled");
  EXPECT_EQ(received.recv<std::string>(), "through a descriptor that travelled");
}

TEST(ConnectionTest, DescriptorsDoNotTravelOverTheNetwork) {
  mp::detail::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), generic, size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), generic, &size), 0);
  mp::detail::UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), generic, size), 0);
  Connection here(client.release());
  Connection there(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_THROW(here.send(there), mp::PicklingError);
  here.send("but values do");
  EXPECT_EQ(there.recv<std::string>(), "but values do");
}

TEST(ConnectionTest, AMalformedFrameClosesTheEndForReceivingOnly) {
  for (RawFrame frame : {RawFrame{.kind = 0x12345678}, RawFrame{.size = std::uint64_t{1} << 60},
                         RawFrame{.descriptors = 1}, RawFrame{.signature = 1}}) {
    auto [connection, raw] = pipe_with_raw_end();
    write_raw(raw.get(), &frame, sizeof frame);
    EXPECT_EQ(error_of([&, &c = connection] { c.recv_bytes(); }), EBADMSG);
    EXPECT_FALSE(connection.readable());
    EXPECT_TRUE(connection.writable());
    connection.send("still writes");
  }
}

TEST(ConnectionTest, ALengthIsNotBelievedBeforeTheBytesAreThere) {
  auto [connection, raw] = pipe_with_raw_end();
  const RawFrame frame{.size = std::uint64_t{1} << 46};
  write_raw(raw.get(), &frame, sizeof frame);
  write_raw(raw.get(), "abc", 3);
  raw.reset();
  EXPECT_EQ(error_of([&, &c = connection] { c.recv_bytes(); }), ECONNRESET);
}

TEST(ConnectionTest, AMessageWhoseDescriptorsAreMissingIsAnError) {
  auto [connection, raw] = pipe_with_raw_end();
  const RawFrame frame{
      .signature = mp::detail::signature<mp::DupFd>, .kind = 0x4d504f01, .descriptors = 1};
  write_raw(raw.get(), &frame, sizeof frame);
  EXPECT_THROW(connection.recv<mp::DupFd>(), mp::PicklingError);
  EXPECT_TRUE(connection.readable());
}

TEST(ConnectionTest, TheDescriptorLimitFailsOneMessageAndNotTheConnection) {
  auto [a, b] = mp::Pipe();
  Forked child([&, &b = b] {
    const rlimit none{static_cast<rlim_t>(b.fileno()) + 1, 4096};
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 1;
    while (::dup(b.fileno()) >= 0) {  // Takes what is free below the limit.
    }
    try {
      b.recv<Connection>();
      return 2;
    } catch (const mp::PicklingError&) {
    }
    return b.recv<int>() == 7 ? 0 : 3;
  });
  a.send(a);
  a.send(7);
  EXPECT_EQ(child.wait(), 0);
}

TEST(ConnectionTest, SignalsInterruptNoCall) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction before {};
  ::sigaction(SIGUSR1, &action, &before);
  auto [a, b] = mp::Pipe();
  std::string received;
  std::thread reader([&, &b = b] { received = b.recv<std::string>(); });
  std::atomic<bool> done = false;
  std::thread sender([&, &a = a] {
    a.send(std::string(16 << 20, 's'));
    done = true;
  });
  while (!done) {
    ::pthread_kill(reader.native_handle(), SIGUSR1);
    ::pthread_kill(sender.native_handle(), SIGUSR1);
  }
  sender.join();
  reader.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_EQ(received, std::string(16 << 20, 's'));
}

TEST(ConnectionTest, WhatIsRefusedIsClosedAllTheSame) {
  std::array<int, 2> fds{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
  EXPECT_THROW(Connection(fds[0], false, false), mp::ValueError);
  EXPECT_EQ(::fcntl(fds[0], F_GETFD), -1);
  ::close(fds[1]);
  ASSERT_EQ(::pipe2(fds.data(), O_CLOEXEC), 0);
  EXPECT_THROW(Connection{fds[0]}, std::system_error);
  EXPECT_EQ(::fcntl(fds[0], F_GETFD), -1);
  ::close(fds[1]);
}

TEST(ConnectionTest, OnlyAConnectedStreamSocketIsTaken) {
  EXPECT_THROW(Connection(-1), mp::ValueError);
  EXPECT_EQ(error_of([] { Connection(1 << 20); }), EBADF);
  EXPECT_EQ(error_of([] { Connection(::open("/dev/null", O_RDWR | O_CLOEXEC)); }), ENOTSOCK);
  EXPECT_EQ(error_of([] { Connection(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }),
            EPROTOTYPE);
}

TEST(ConnectionTest, TextFormsSayWhatItIs) {
  auto [a, b] = mp::Pipe(false);
  EXPECT_EQ(fmt::format("{}", a), fmt::format("<Connection fd={} read-only>", a.fileno()));
  std::ostringstream text;
  b.close();
  text << b;
  EXPECT_EQ(text.str(), "<Connection closed>");
}

TEST(WaitTest, ReturnsTheReadyOnesInTheirOrder) {
  auto [a, a2] = mp::Pipe();
  auto [b, b2] = mp::Pipe();
  auto [c, c2] = mp::Pipe();
  const std::vector<Connection> all{a, b, c};
  EXPECT_TRUE(mp::connection::wait(all, 0ms).empty());
  c2.send(1);
  a2.close();  // The end of file counts.
  EXPECT_EQ(mp::connection::wait(all), (std::vector<Connection>{a, c}));
  const auto mixed = mp::connection::wait({c, b.fileno(), a});
  ASSERT_EQ(mixed.size(), 2U);
  EXPECT_TRUE(mixed[0] == c && mixed[1] == a);
}

TEST(WaitTest, TheSameObjectTwiceIsReadyTwice) {
  auto [a, b] = mp::Pipe();
  b.send(1);
  EXPECT_EQ(mp::connection::wait(std::vector{a, a}).size(), 2U);
}

TEST(WaitTest, ClosedAndImpossibleObjectsAreErrors) {
  auto [a, b] = mp::Pipe();
  EXPECT_THROW(mp::connection::wait({a, -1}), mp::ValueError);
  EXPECT_EQ(error_of([&] { mp::connection::wait(std::vector{1 << 20}, 1s); }), EBADF);
  a.close();
  EXPECT_EQ(error_of([&, &a = a] { mp::connection::wait({a}, 1s); }), EBADF);
}

TEST(WaitTest, NothingToWaitForIsNothingReady) {
  EXPECT_TRUE(mp::connection::wait(std::vector<Connection>(), 0ms).empty());
  EXPECT_TRUE(mp::connection::wait(std::vector<Connection>()).empty());
}

}  // namespace
