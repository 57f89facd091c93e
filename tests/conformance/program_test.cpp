// What CPython's own suite checks of a program as a whole: its exit, objects
// that are shared between the start methods, waiting for slow children; one
// test an id.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <map>
#include <mp/connection.hpp>
#include <mp/detail/exit_work.hpp>
#include <mp/mp.hpp>
#include <random>
#include <thread>

#include "channel.hpp"
#include "children.hpp"
#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::Channel;
using mp::test::Forked;

class ProgramConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ProgramConformance);

TEST_P(ProgramConformance, finalize__thread_safe) {
  mp::Process program([] {
    static std::atomic<int> made{0};
    static std::atomic<int> ran{0};
    static std::atomic<int> cancelled{0};
    // The last to run: it sees whether all others did.
    mp::detail::add_exit_work(-1, [] { _exit(ran == made - cancelled ? 42 : 1); });
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 2'000; ++i) {
          ++made;
          const auto id = mp::detail::add_exit_work(i % 20, [] { ++ran; });
          if (i % 3 == 0) {
            mp::detail::remove_exit_work(id);
            ++cancelled;
          }
        }
      });
    }
  });
  program.start();
  program.join();
  EXPECT_EQ(program.exitcode(), 42);
}

TEST(ProgramConformanceOnce, extra__authkey_not_serialisable) {
  static_assert(!mp::Picklable<mp::AuthenticationString>);
  EXPECT_FALSE(mp::current_process().authkey().bytes().empty());
}

// Objects made under any method work with children of every other.
TEST_P(ProgramConformance, context__mixed_methods) {
  const mp::Lock lock;
  mp::Queue<int> queue;
  for (const auto method : mp::get_all_start_methods()) {
    mp::Process p(
        {.start_method = method},
        [](const mp::Lock& l, mp::Queue<int> q, int n) {
          const std::scoped_lock guard(l);
          q.put(n);
        },
        lock, queue, static_cast<int>(method));
    p.start();
    p.join(20s);
    EXPECT_EQ(p.exitcode(), 0);
    EXPECT_EQ(queue.get(0s), static_cast<int>(method));
  }
}

const mp::Lock& global_lock() {
  static const mp::Lock lock;
  return lock;
}

TEST(ProgramConformanceOnce, spawn__global_named_resource_not_leaked) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Forked program([&] {
    dup2(ends[1], STDERR_FILENO);
    const std::scoped_lock guard(global_lock());
    mp::Process p({.start_method = mp::StartMethod::spawn}, [] { (void)global_lock().locked(); });
    p.start();
    p.join();
    return p.exitcode().value_or(9);
  });
  close(ends[1]);
  EXPECT_EQ(program.wait(), 0);
  char letter = 0;
  EXPECT_EQ(read(ends[0], &letter, 1), 0) << "something was said on stderr";
  close(ends[0]);
}

void look_once() {
  mp::Queue<int> queue;
  try {
    (void)queue.get_nowait();
  } catch (const mp::Empty&) {
    return;
  }
  mp::exit(1);
}

void nest() {
  mp::Process inner(look_once);
  inner.start();
  inner.join();
  mp::exit(inner.exitcode().value_or(9));
}

TEST_P(ProgramConformance, process__nested_queue_nonblocking_get) {
  mp::Process outer(nest);
  outer.start();
  outer.join();
  EXPECT_EQ(outer.exitcode(), 0);
}

// At no particular pace.
void dawdle(std::minstd_rand& random) {
  for (auto spins = random() % 300'000; spins > 0; --spins) mp::detail::spin_pause();
}

void send_ten_slowly(mp::Connection writer, int id) {
  std::minstd_rand random(static_cast<unsigned>(id) + 1);
  for (int i = 0; i < 10; ++i) {
    dawdle(random);
    writer.send(std::pair(id, i));
  }
}

TEST_P(ProgramConformance, wait__multiple_readers_slow) {
  std::vector<mp::Connection> readers;
  std::vector<mp::Process> children;
  for (int i = 0; i < 4; ++i) {
    auto [reader, writer] = mp::Pipe(false);
    children.emplace_back(send_ten_slowly, writer, i).start();
    readers.push_back(reader);
    writer.close();
  }
  std::map<int, int> next;
  int received = 0;
  while (!readers.empty()) {
    const auto ready = mp::connection::wait(readers, 20s);
    ASSERT_FALSE(ready.empty());
    for (mp::Connection connection : ready) {
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
  for (auto& child : children) {
    child.join();
    EXPECT_EQ(child.exitcode(), 0);
  }
}

void connect_and_write_slowly(std::uint16_t port, int id) {
  std::minstd_rand random(static_cast<unsigned>(id) + 1);
  const mp::detail::UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  mp::detail::check(
      connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
      "connect");
  for (int i = 0; i < 10; ++i) {
    dawdle(random);
    mp::detail::write_all(client.get(), std::to_string(i));
  }
}

TEST_P(ProgramConformance, wait__sockets_slow) {
  const mp::detail::UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener.get(), any, size), 0);
  ASSERT_EQ(listen(listener.get(), 4), 0);
  ASSERT_EQ(getsockname(listener.get(), any, &size), 0);
  std::vector<mp::Process> children;
  std::vector<mp::detail::UniqueFd> accepted;
  std::vector<int> readers;
  for (int i = 0; i < 4; ++i) {
    children.emplace_back(connect_and_write_slowly, ntohs(address.sin_port), i).start();
    accepted.emplace_back(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    readers.push_back(accepted.back().get());
  }
  std::map<int, std::string> heard;
  while (!readers.empty()) {
    const auto ready = mp::connection::wait(readers, 20s);
    ASSERT_FALSE(ready.empty());
    for (const int fd : ready) {
      std::array<char, 16> part{};
      const ssize_t n = read(fd, part.data(), part.size());
      if (n > 0) {
        heard[fd].append(part.data(), static_cast<std::size_t>(n));
      } else {
        std::erase(readers, fd);
      }
    }
  }
  for (const auto& fd : accepted) EXPECT_EQ(heard[fd.get()], "0123456789");
  for (auto& child : children) {
    child.join();
    EXPECT_EQ(child.exitcode(), 0);
  }
}

// --- where CPython's children stay for ever ---

TEST_P(ProgramConformance, survive__parent_sigkilled) {
  Channel alive;
  Channel ready;
  Forked program([&] {
    const mp::Queue<int> queue;
    const mp::Lock lock;
    lock.acquire();
    mp::Process reader(
        {.daemon = true},
        [](const Channel& held, const Channel& out, mp::Queue<int> q) {
          (void)held;
          out.say("reads");
          (void)q.get();
        },
        alive, ready, queue);
    reader.start();
    mp::Process locker(
        {.daemon = true},
        [](const Channel& held, const Channel& out, const mp::Lock& l) {
          (void)held;
          out.say("locks");
          l.acquire();
        },
        alive, ready, lock);
    locker.start();
    for (;;) pause();
    return 0;
  });
  alive.stop_writing();
  ASSERT_TRUE(ready.hear());
  ASSERT_TRUE(ready.hear());
  program.kill();
  EXPECT_TRUE(alive.ended(2s));
}

}  // namespace
