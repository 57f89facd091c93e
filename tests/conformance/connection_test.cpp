// What CPython's own suite checks of connections, poll and wait, one test an id.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <mp/connection.hpp>
#include <mp/process.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "calls.hpp"
#include "children.hpp"

namespace {

using namespace std::chrono_literals;
using mp::Connection;
using mp::Pipe;
using mp::Process;
using mp::test::bytes_of;
using mp::test::text_of;

using Clock = std::chrono::steady_clock;

class ConnectionConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ConnectionConformance);

// Sends bytes back until an empty message comes.
void echo_bytes(Connection connection) {
  for (;;) {
    const auto message = connection.recv_bytes();
    if (message.empty()) return;
    connection.send_bytes(message);
  }
}

void echo_list(Connection connection) {
  connection.send(connection.recv<std::vector<std::string>>());
  echo_bytes(connection);
}

TEST_P(ConnectionConformance, connection__echo_objects_and_bytes) {
  auto [here, there] = Pipe();
  Process child = start(echo_list, there);
  const std::vector<std::string> list{"1", "2.25", "None"};
  here.send(list);
  EXPECT_EQ(here.recv<std::vector<std::string>>(), list);
  here.send_bytes("hello world");
  EXPECT_EQ(here.recv_bytes(), bytes_of("hello world"));
  EXPECT_GE(here.fileno(), 0);
  here.send_bytes("");
  EXPECT_EQ(mp::test::ended(child), 0);
}

TEST_P(ConnectionConformance, connection__recv_into_buffer) {
  auto [here, there] = Pipe();
  Process child = start(echo_bytes, there);
  const std::array<int, 4> sent{1, 2, 3, 4};
  for (const std::size_t offset : {0U, 12U}) {
    std::array<int, 10> buffer{};
    here.send_bytes(sent);
    EXPECT_EQ(here.recv_bytes_into(std::as_writable_bytes(std::span(buffer)), offset), 16U);
    std::array<int, 10> expected{};
    std::copy(sent.begin(), sent.end(), expected.begin() + static_cast<long>(offset / sizeof(int)));
    EXPECT_EQ(buffer, expected);
  }
  here.send_bytes("");
  EXPECT_EQ(mp::test::ended(child), 0);
}

TEST_P(ConnectionConformance, connection__buffer_too_short) {
  auto [here, there] = Pipe();
  Process child = start(echo_bytes, there);
  const std::string message(110, 'L');
  here.send_bytes(message);
  std::array<std::byte, 40> buffer{};
  try {
    here.recv_bytes_into(buffer);
    ADD_FAILURE() << "it does not fit";
  } catch (const mp::BufferTooShort& error) {
    EXPECT_EQ(error.message(), bytes_of(message));
  }
  here.send_bytes("");
  EXPECT_EQ(mp::test::ended(child), 0);
}

TEST_P(ConnectionConformance, connection__poll_timeouts) {
  auto [here, there] = Pipe();
  Process child = start(echo_bytes, there);
  auto begin = Clock::now();
  EXPECT_FALSE(here.poll());
  EXPECT_FALSE(here.poll(-1s));
  EXPECT_LT(Clock::now() - begin, 100ms);
  begin = Clock::now();
  EXPECT_FALSE(here.poll(100ms));
  EXPECT_GE(Clock::now() - begin, 100ms);
  here.send_bytes("x");
  EXPECT_TRUE(here.poll(mp::test::patience));
  EXPECT_TRUE(here.poll());
  here.recv_bytes();
  here.send_bytes("");
  EXPECT_EQ(mp::test::ended(child), 0);
}

TEST_P(ConnectionConformance, connection__16MiB_message) {
  auto [here, there] = Pipe();
  Process child = start(echo_bytes, there);
  const std::vector<std::byte> message(16 << 20, std::byte{'X'});
  here.send_bytes(message);
  EXPECT_EQ(here.recv_bytes(), message);
  here.send_bytes("");
  EXPECT_EQ(mp::test::ended(child), 0);
}

TEST_P(ConnectionConformance, connection__eof_after_peer_exit) {
  auto [here, there] = Pipe();
  Process child = start(echo_bytes, there);
  here.send_bytes("");
  EXPECT_EQ(mp::test::ended(child), 0);
  there.close();
  EXPECT_TRUE(here.readable());
  EXPECT_TRUE(here.writable());
  EXPECT_THROW(here.recv<int>(), mp::EOFError);
  EXPECT_THROW(here.recv_bytes(), mp::EOFError);
}

TEST(ConnectionConformanceOnce, connection__simplex_permissions) {
  auto [reader, writer] = Pipe(false);
  writer.send(1);
  EXPECT_EQ(reader.recv<int>(), 1);
  EXPECT_TRUE(reader.readable());
  EXPECT_FALSE(reader.writable());
  EXPECT_FALSE(writer.readable());
  EXPECT_TRUE(writer.writable());
  EXPECT_THROW(reader.send(2), std::system_error);
  EXPECT_THROW(writer.recv<int>(), std::system_error);
  EXPECT_THROW((void)writer.poll(), std::system_error);
}

TEST_P(ConnectionConformance, connection__parent_closes_child_end_early) {
  auto [here, there] = Pipe();
  Process child = start(echo_bytes, there);
  there.close();
  here.send_bytes("hello");
  EXPECT_EQ(here.recv_bytes(), bytes_of("hello"));
  here.send_bytes("");
  EXPECT_EQ(mp::test::ended(child), 0);
}

TEST(ConnectionConformanceOnce, connection__send_bytes_slices) {
  auto [a, b] = Pipe();
  const std::string message = "abcdefghijklmnopqrstuvwxyz";
  a.send_bytes(message);
  EXPECT_EQ(b.recv_bytes(), bytes_of(message));
  a.send_bytes(message, 5);
  EXPECT_EQ(b.recv_bytes(), bytes_of(message.substr(5)));
  a.send_bytes(message, 7, 8);
  EXPECT_EQ(b.recv_bytes(), bytes_of(message.substr(7, 8)));
  a.send_bytes(message, 26);
  EXPECT_EQ(b.recv_bytes(), bytes_of(""));
  a.send_bytes(message, 26, 0);
  EXPECT_EQ(b.recv_bytes(), bytes_of(""));
  EXPECT_THROW(a.send_bytes(message, 27), mp::ValueError);
  EXPECT_THROW(a.send_bytes(message, 22, 5), mp::ValueError);
  EXPECT_THROW(a.send_bytes(message, 26, 1), mp::ValueError);
}

void write_foo(Connection connection) {
  auto fd = connection.recv<mp::DupFd>();
  if (::write(fd.fileno(), "foo", 3) != 3) mp::exit(1);
}

// As write_foo, where the low numbers are all taken.
void write_foo_high(Connection connection) {
  std::vector<mp::detail::UniqueFd> taken;
  for (int fd = 0; fd < 256; fd = taken.back().get()) taken.emplace_back(::dup(0));
  auto fd = connection.recv<mp::DupFd>();
  if (fd.fileno() <= 256 || ::write(fd.fileno(), "foo", 3) != 3) mp::exit(1);
}

void expect_foo_through(Connection& here, Process& child, int lowest) {
  const mp::detail::UniqueFd file(::memfd_create("foo", MFD_CLOEXEC));
  const mp::detail::UniqueFd high(::fcntl(file.get(), F_DUPFD_CLOEXEC, lowest));
  here.send(mp::DupFd(high.get()));
  EXPECT_EQ(mp::test::ended(child), 0);
  std::array<char, 4> text{};
  EXPECT_EQ(::pread(file.get(), text.data(), text.size(), 0), 3);
  EXPECT_STREQ(text.data(), "foo");
}

TEST_P(ConnectionConformance, connection__send_fd) {
  auto [here, there] = Pipe();
  Process child = start(write_foo, there);
  expect_foo_through(here, child, 0);
}

TEST_P(ConnectionConformance, connection__send_large_fd) {
  auto [here, there] = Pipe();
  Process child = start(write_foo_high, there);
  expect_foo_through(here, child, 300);
}

TEST(ConnectionConformanceOnce, connection__missing_fd) {
  std::array<int, 2> fds{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
  Connection connection(fds[0]);
  const mp::detail::UniqueFd raw(fds[1]);
  // An object's frame that announces a descriptor, without one.
  struct {
    std::uint64_t size = 0;
    std::uint64_t signature = mp::detail::signature<mp::DupFd>;
    std::uint32_t kind = 0x4d504f01;
    std::uint32_t descriptors = 1;
  } frame;
  ASSERT_EQ(::write(raw.get(), &frame, sizeof frame), static_cast<ssize_t>(sizeof frame));
  EXPECT_THROW(connection.recv<mp::DupFd>(), mp::PicklingError);
}

TEST(ConnectionConformanceOnce, connection__context_closes) {
  std::array<int, 2> fds{};
  {
    auto [a, b] = Pipe();
    fds = {a.fileno(), b.fileno()};
    a.send(1);
    EXPECT_EQ(b.recv<int>(), 1);
  }
  EXPECT_EQ(::fcntl(fds[0], F_GETFD), -1);
  EXPECT_EQ(::fcntl(fds[1], F_GETFD), -1);
  auto [a, b] = Pipe();
  a.close();
  EXPECT_EQ(text_of([&, &a = a] { a.recv<int>(); }), "handle is closed: Bad file descriptor");
}

TEST(ConnectionConformanceOnce, connection__invalid_handle) {
  EXPECT_THROW(Connection(-1), mp::ValueError);
  EXPECT_THROW(Connection(44977608), std::system_error);
}

TEST(ConnectionConformanceOnce, extra__recv_bytes_maxlength) {
  auto [a, b] = Pipe();
  a.send_bytes("too long");
  EXPECT_EQ(text_of([&, &b = b] { b.recv_bytes(3); }), "bad message length: Message too long");
  EXPECT_FALSE(b.readable());
  EXPECT_TRUE(b.writable());
  auto [reader, writer] = Pipe(false);
  writer.send_bytes("too long");
  EXPECT_THROW(reader.recv_bytes(3), std::system_error);
  EXPECT_TRUE(reader.closed());
}

void relay_eight(Connection connection) {
  for (const char* text : {"hello", "", "world", "", "", "x", "y", ""}) {
    connection.send_bytes(text);
    connection.recv<bool>();  // Until the last one was seen.
  }
}

TEST_P(ConnectionConformance, poll__message_sequence) {
  auto [here, there] = Pipe();
  Process child = start(relay_eight, there);
  for (const char* text : {"hello", "", "world", "", "", "x", "y", ""}) {
    const mp::detail::Deadline deadline(mp::test::patience);
    while (!here.poll(10ms) && !deadline.passed()) {
    }
    EXPECT_EQ(here.recv_bytes(), bytes_of(text));
    EXPECT_FALSE(here.poll());
    here.send(true);
  }
  EXPECT_EQ(mp::test::ended(child), 0);
}

TEST(ConnectionConformanceOnce, poll__empty_message) {
  auto [a, b] = Pipe();
  EXPECT_FALSE(a.poll());
  b.send_bytes("");
  EXPECT_TRUE(a.poll());
  EXPECT_TRUE(a.poll());
}

void send_three(Connection connection) {
  connection.recv<bool>();
  for (const char* text : {"a", "b", "c"}) connection.send_bytes(text);
  connection.recv<bool>();
}

TEST_P(ConnectionConformance, poll__does_not_merge) {
  auto [here, there] = Pipe();
  Process child = start(send_three, there);
  EXPECT_FALSE(here.poll(50ms));
  here.send(true);
  for (const char* text : {"a", "b", "c"}) {
    EXPECT_TRUE(here.poll(mp::test::patience));
    EXPECT_EQ(here.recv_bytes(), bytes_of(text));
  }
  EXPECT_FALSE(here.poll());
  here.send(true);
  EXPECT_EQ(mp::test::ended(child), 0);
}

std::array<mp::detail::UniqueFd, 2> tcp_pair() {
  mp::detail::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  mp::detail::check(::bind(listener.get(), generic, size), "bind");
  mp::detail::check(::listen(listener.get(), 1), "listen");
  mp::detail::check(::getsockname(listener.get(), generic, &size), "getsockname");
  mp::detail::UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  mp::detail::check(::connect(client.get(), generic, size), "connect");
  return {mp::detail::UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)),
          std::move(client)};
}

// Hands over a connection and a plain network socket, both of which it made.
void hand_over(Connection connection) {
  auto [a, b] = Pipe();
  connection.send(a);
  a.close();
  auto [accepted, client] = tcp_pair();
  connection.send(mp::DupFd(accepted.get()));
  accepted.reset();
  b.send("from the peer");
  if (::write(client.get(), "hello", 5) != 5) mp::exit(1);
}

TEST_P(ConnectionConformance, connection__send_connections_and_sockets) {
  auto [here, there] = Pipe();
  Process child = start(hand_over, there);
  auto connection = here.recv<Connection>();
  mp::detail::UniqueFd plain(here.recv<mp::DupFd>().detach());
  EXPECT_EQ(connection.recv<std::string>(), "from the peer");
  std::array<char, 6> text{};
  EXPECT_EQ(::recv(plain.get(), text.data(), 5, MSG_WAITALL), 5);
  EXPECT_STREQ(text.data(), "hello");
  EXPECT_EQ(mp::test::ended(child), 0);
}

void send_and_echo(Connection connection) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &action, nullptr);
  connection.send(static_cast<int>(::getpid()));
  connection.send(connection.recv<int>());
  connection.send_bytes(std::vector<std::byte>(4 << 20, std::byte{'x'}));
}

TEST_P(ConnectionConformance, connection__eintr_recv_send) {
  auto [here, there] = Pipe();
  Process child = start(send_and_echo, there);
  const int pid = here.recv<int>();
  // A few times: while it waits in recv(), and while its send() cannot end.
  for (int i = 0; i < 20; ++i) {
    ::kill(pid, SIGUSR1);
    EXPECT_FALSE(here.poll(1ms));
  }
  here.send(1234);
  EXPECT_EQ(here.recv<int>(), 1234);
  for (int i = 0; i < 20; ++i) ::kill(pid, SIGUSR1);
  EXPECT_EQ(here.recv_bytes(), std::vector<std::byte>(4 << 20, std::byte{'x'}));
  EXPECT_EQ(mp::test::ended(child), 0);
}

void send_ten(Connection connection, int child) {
  for (int i = 0; i < 10; ++i) connection.send(std::pair(child, i));
}

TEST_P(ConnectionConformance, wait__multiple_readers) {
  std::vector<Connection> readers;
  std::vector<Process> children;
  for (int i = 0; i < 4; ++i) {
    auto [reader, writer] = Pipe(false);
    children.push_back(start(send_ten, writer, i));
    readers.push_back(reader);
    writer.close();
  }
  std::map<int, int> next;
  int received = 0;
  while (!readers.empty()) {
    const auto ready = mp::connection::wait(readers, mp::test::patience);
    ASSERT_FALSE(ready.empty());
    for (Connection connection : ready) {
      try {
        const auto [child, i] = connection.recv<std::pair<int, int>>();
        EXPECT_EQ(next[child]++, i);
        ++received;
      } catch (const mp::EOFError&) {
        std::erase(readers, connection);
      }
    }
  }
  EXPECT_EQ(received, 40);
  for (Process& child : children) EXPECT_EQ(mp::test::ended(child), 0);
}

TEST(ConnectionConformanceOnce, wait__sockets) {
  std::vector<int> readers;
  std::vector<std::array<mp::detail::UniqueFd, 2>> pairs;
  for (int i = 0; i < 4; ++i) {
    pairs.push_back(tcp_pair());
    readers.push_back(pairs.back()[0].get());
    ASSERT_EQ(::write(pairs.back()[1].get(), "0123456789", 10), 10);
    pairs.back()[1].reset();
  }
  std::map<int, std::string> received;
  while (!readers.empty()) {
    const auto ready = mp::connection::wait(readers, mp::test::patience);
    ASSERT_FALSE(ready.empty());
    for (const int fd : ready) {
      std::array<char, 4> part{};
      const ssize_t n = ::read(fd, part.data(), part.size());
      if (n > 0) {
        received[fd].append(part.data(), static_cast<std::size_t>(n));
      } else {
        std::erase(readers, fd);
      }
    }
  }
  EXPECT_EQ(received.size(), 4U);
  for (const auto& [fd, text] : received) EXPECT_EQ(text, "0123456789");
}

TEST(ConnectionConformanceOnce, wait__timeout) {
  auto [a, b] = Pipe();
  const auto begin = Clock::now();
  EXPECT_TRUE(mp::connection::wait(std::vector{a, b}, 200ms).empty());
  EXPECT_GE(Clock::now() - begin, 200ms);
  b.send(1);
  EXPECT_EQ(mp::connection::wait(std::vector{a, b}, mp::test::patience), std::vector{a});
  EXPECT_TRUE(mp::connection::wait(std::vector{b}, -1s).empty());
}

void wait_for_word(Connection connection) { connection.recv<bool>(); }

TEST_P(ConnectionConformance, wait__sentinel_mixed) {
  auto [a, a2] = Pipe();
  auto [b, b2] = Pipe();
  auto [here, there] = Pipe();
  Process child = start(wait_for_word, there);
  const std::vector<mp::Waitable> all{a, child.sentinel(), b};
  EXPECT_TRUE(mp::connection::wait(all, 20ms).empty());
  here.send(true);
  auto ready = mp::connection::wait(all, mp::test::patience);
  ASSERT_EQ(ready.size(), 1U);
  EXPECT_TRUE(ready[0] == child.sentinel());
  b2.send(1);
  ready = mp::connection::wait(all, mp::test::patience);
  ASSERT_EQ(ready.size(), 2U);
  EXPECT_TRUE(ready[0] == child.sentinel() && ready[1] == b);
  a2.send(1);
  EXPECT_EQ(mp::connection::wait(all, 0s).size(), 3U);
  EXPECT_EQ(mp::test::ended(child), 0);
}

}  // namespace
