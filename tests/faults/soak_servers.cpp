// What a process keeps for others: named memory, a listener, a manager.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>

#include "processes.hpp"
#include "soak.hpp"

namespace soak {
namespace {

constexpr int messages = 100;

template <class Condition>
void require_soon(Condition condition, const std::string& what) {
  const mp::detail::Deadline deadline(patience);
  while (!condition()) {
    require(!deadline.passed(), what);
    std::this_thread::yield();
  }
}

bool exists(const std::string& name) { return std::filesystem::exists("/dev/shm/" + name); }

// The guardian says whose memory it takes away: to those who have not done it on purpose.
void say_nothing() {
  const mp::detail::UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  ::dup2(null.get(), STDERR_FILENO);
}

// The guardian of this process's segments; 0 if there is none.
pid_t guardian() {
  for (const auto& [pid, row] : mp::test::process_table()) {
    if (row.parent == ::getpid() && row.name == "mp-shm-guardian" && !row.has_ended()) return pid;
  }
  return 0;
}

// Another guardian takes over when the next segment is made.
void kill_guardian() {
  require_soon([] { return guardian() != 0; }, "a segment has no guardian");
  ::kill(guardian(), SIGKILL);
  require_soon([] { return guardian() == 0; }, "a killed guardian does not end");
}

void make_segments(mp::Connection out, bool without_guardian) {
  say_nothing();
  const mp::SharedMemory first({.create = true, .size = 4096});
  std::ranges::fill(first.buf(), std::byte{7});
  if (without_guardian) kill_guardian();
  const mp::SharedMemory second({.create = true, .size = 4096});
  out.send(first.name());
  out.send(second.name());
  out.recv<int>();
}

void make_list(mp::Connection out) {
  say_nothing();
  const mp::ShareableList list({std::int64_t{0}, std::string("a text")});
  out.send(list.shm().name());
  for (std::int64_t i = 0;; ++i) list.set(0, i);
}

void knock(const mp::Address& address, int who) {
  auto connection = mp::Client(address, {.authkey = "soak", .timeout = patience});
  connection.send(who);
  for (int i = 0; i < messages; ++i) connection.send(i);
}

// Who the next client was, if it said all it had to say; else -1.
int serve_one(mp::Listener& listener) {
  try {
    auto connection = listener.accept(patience);
    const int who = connection.recv<int>(patience);
    for (int i = 0; i < messages; ++i) {
      require(connection.recv<int>(patience) == i, "a message is lost or out of order");
    }
    return who;
  } catch (const mp::EOFError&) {
  } catch (const mp::AuthenticationError&) {
  }
  return -1;
}

void use_dict(mp::DictProxy<int, int> dict, mp::Connection ready) {
  ready.send(0);
  try {
    for (int i = 0;; ++i) dict[i % 100] = i;
  } catch (const mp::EOFError&) {
  } catch (const std::system_error&) {
  }
}

void put_numbers(mp::QueueProxy<int> queue, int first, int count) {
  for (int i = 0; i < count; ++i) queue.put(first + i);
}

}  // namespace

// Segments go with who made them, whatever became of the guardian; the memory with its last user.
void memory_round() {
  auto [here, there] = mp::Pipe();
  auto maker = start(make_segments, there, random_number(0, 1) == 1);
  require(here.poll(patience), "a maker of segments does not begin");
  const auto first = here.recv<std::string>(patience);
  const auto second = here.recv<std::string>(patience);
  const mp::SharedMemory memory({.name = first});
  some_time();
  kill(maker);
  require_soon([&] { return !exists(first) && !exists(second); }, "a segment outlives its maker");
  require(std::ranges::count(memory.buf(), std::byte{7}) == 4096, "shared memory has changed");
}

void list_round() {
  auto [here, there] = mp::Pipe();
  auto maker = start(make_list, there);
  require(here.poll(patience), "a maker of a list does not begin");
  const auto name = here.recv<std::string>();
  const auto list = mp::ShareableList::attach(name);
  some_time();
  kill(maker);
  require_soon([&] { return !exists(name); }, "a list outlives its maker");
  require(list[1] == mp::ShareableItem("a text"), "an item has changed");
}

// A client that is killed, in its handshake or later, keeps no other from being served.
void listener_round() {
  mp::Listener listener({.authkey = "soak"});
  auto victim = start(knock, listener.address(), 0);
  auto survivor = start(knock, listener.address(), 1);
  some_time();
  kill(victim);
  while (serve_one(listener) != 1) {
  }
  expect_end(survivor, "a client of a listener");
}

// The server is killed: who uses it is told, now and later.
void manager_round() {
  auto manager = mp::Manager();
  auto dict = manager.dict<int, int>();
  auto [here, there] = mp::Pipe();
  auto client = start(use_dict, dict, there);
  require(here.poll(patience), "a client does not begin");
  some_time();
  ++kills;
  ::kill(*manager.pid(), SIGKILL);
  expect_end(client, "a client of a killed manager");
  try {
    dict.clear();
    require(false, "a killed manager answers");
  } catch (const mp::EOFError&) {
  } catch (const std::system_error&) {
  }
}

// A client is killed, perhaps with the lock in its hand.
void manager_lock_round() {
  auto manager = mp::Manager();
  change_round(manager.Lock(), manager.list({0, 0}), 30);
}

// A killed client has put its first numbers, without a gap; the other one all of them.
void manager_queue_round() {
  auto manager = mp::Manager();
  auto queue = manager.Queue<int>(5);
  auto survivor = start(put_numbers, queue, 0, messages);
  auto victim = start(put_numbers, queue, messages, 1'000'000'000);
  some_time();
  kill(victim);
  int next = 0;
  int next_of_victim = messages;
  while (next < messages) {
    const int number = queue.get(patience);
    int& expected = number < messages ? next : next_of_victim;
    require(number == expected++, "a number is lost, doubled or out of order");
  }
  expect_end(survivor, "a client of a manager");
}

}  // namespace soak
