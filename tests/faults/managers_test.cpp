// A manager's server among strangers, dead clients and clients that misbehave.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fcntl.h>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <forked.hpp>
#include <fstream>
#include <mp/mp.hpp>
#include <new>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using mp::test::Forked;
using mp::test::Gate;
using mp::test::patience;
using mp::test::Shared;

class ManagerFaults : public testing::Test {
 protected:
  mp::SyncManager manager = mp::Manager({
      .address = mp::TcpAddress{"127.0.0.1", 0},
      .authkey = "key",
      .limits = {.max_request = 64U << 20, .max_strangers = 16, .handshake_timeout = 300ms},
  });

  // A socket to the server that has said nothing yet.
  mp::Connection stranger() { return mp::Client(manager.address(), {.timeout = patience}); }
  // One that has proved itself, and can send what no proxy would.
  mp::Connection insider() {
    return mp::Client(manager.address(), {.authkey = "key", .timeout = patience});
  }
  // Kilobytes that the server has in memory.
  long resident() {
    std::ifstream status("/proc/" + std::to_string(*manager.pid()) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
    }
    return -1;
  }
  void expect_that_it_serves() {
    auto list = manager.list({1, 2});
    list.append(3);
    EXPECT_EQ(list.getvalue(), (std::vector{1, 2, 3}));
  }
};

void send_raw(const mp::Connection& connection, const std::string& bytes) {
  // The server may have closed it in the middle.
  [[maybe_unused]] const auto sent =
      ::send(connection.fileno(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

// True when the other end closes it, whatever it has sent before.
bool is_closed_by_the_server(mp::Connection& connection) {
  std::array<char, 4096> buffer{};
  for (;;) {
    if (!mp::detail::wait_fd(connection.fileno(), POLLIN, mp::detail::Deadline(patience))) {
      return false;
    }
    if (::recv(connection.fileno(), buffer.data(), buffer.size(), 0) <= 0) return true;
  }
}

// A head as a Connection sends it, of a message of `size` bytes.
std::string head(std::uint64_t size) {
  std::string bytes(24, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  std::memcpy(bytes.data() + 16, "\x01\x42PM", 4);
  return bytes;
}

// One that has said hello: for requests that no proxy would make.
class RawClient {
 public:
  RawClient(mp::Connection connection, std::uint64_t session) : connection_(std::move(connection)) {
    mp::Encoder hello;
    hello.number(std::uint8_t{0});
    hello.number(std::uint32_t{1});
    hello.number(session);
    EXPECT_EQ(call(hello).number<std::uint8_t>(), 0);
  }
  void send(const mp::Encoder& request) { connection_.send_bytes(request.view()); }
  mp::Decoder call(const mp::Encoder& request) {
    send(request);
    reply_ = connection_.recv_bytes({}, patience);
    return mp::Decoder(reply_);
  }
  mp::Connection& connection() { return connection_; }

  std::uint64_t number_of_objects() {
    mp::Encoder request;
    request.number(std::uint8_t{8});
    auto reply = call(request);
    EXPECT_EQ(reply.number<std::uint8_t>(), 0);
    return reply.number<std::uint64_t>();
  }

 private:
  mp::Connection connection_;
  std::vector<std::byte> reply_;
};

TEST_F(ManagerFaults, GarbageIsRefused) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    auto connection = stranger();
    std::string bytes(random() % 600 + 24, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    send_raw(connection, bytes);
    EXPECT_TRUE(is_closed_by_the_server(connection));
  }
  expect_that_it_serves();
}

TEST_F(ManagerFaults, ALengthOfTwoToTheSixtyIsRefusedBeforeAndAfterTheHandshake) {
  auto outside = stranger();
  send_raw(outside, head(std::uint64_t{1} << 60));
  EXPECT_TRUE(is_closed_by_the_server(outside));
  auto inside = insider();
  send_raw(inside, head(std::uint64_t{1} << 60));
  EXPECT_TRUE(is_closed_by_the_server(inside));
  auto beyond_limit = insider();
  send_raw(beyond_limit, head(65U << 20));
  EXPECT_TRUE(is_closed_by_the_server(beyond_limit));
  expect_that_it_serves();
}

TEST_F(ManagerFaults, AWorkerOfTheServersKeepsNobodysConnection) {
  auto connection = insider();
  auto pool = manager.Pool(2);
  EXPECT_EQ(pool.apply([] { return 1; }), 1);
  send_raw(connection, std::string(100, 'x'));
  EXPECT_TRUE(is_closed_by_the_server(connection));
}

TEST_F(ManagerFaults, ALengthThatIsAllowedTakesMemoryOnlyAsBytesArrive) {
  expect_that_it_serves();
  const long before = resident();
  std::vector<mp::Connection> insiders;
  for (int i = 0; i < 20; ++i) {
    insiders.push_back(insider());
    send_raw(insiders.back(), head(63U << 20) + "x");
  }
  expect_that_it_serves();
  EXPECT_LT(resident() - before, 20'000);
}

TEST_F(ManagerFaults, HalfAHandshakeEndsAtItsDeadline) {
  auto silent = stranger();
  auto half = stranger();
  send_raw(half, head(40).substr(0, 10));
  EXPECT_TRUE(is_closed_by_the_server(silent));
  EXPECT_TRUE(is_closed_by_the_server(half));
  expect_that_it_serves();
}

TEST_F(ManagerFaults, ManyStrangersKeepNobodyOut) {
  std::vector<mp::Connection> strangers;
  for (int i = 0; i < 100; ++i) strangers.push_back(stranger());
  mp::SyncManager client({.address = manager.address(), .authkey = "key"});
  client.connect();
  EXPECT_EQ(client.list({1}).size(), 1U);
}

TEST_F(ManagerFaults, AHundredThousandConnectionsOpenedAndDroppedLeaveNothing) {
  const auto knock = [&](int times) {
    for (int i = 0; i < times; ++i) stranger().close();
  };
  knock(2000);
  expect_that_it_serves();
  const long before = resident();
  knock(98'000);
  expect_that_it_serves();
  EXPECT_LT(resident() - before, 4'000);
  std::size_t descriptors = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(*manager.pid()) + "/fd")) {
    (void)entry;
    ++descriptors;
  }
  EXPECT_LT(descriptors, 64U);
}

TEST_F(ManagerFaults, RequestsThatMakeNoSenseAreErrorsOfTheirClientOnly) {
  std::mt19937 random(2);
  auto list = manager.list({1, 2, 3});
  for (int i = 0; i < 3000; ++i) {
    auto connection = insider();
    // hello, so that what follows is looked at.
    mp::Encoder hello;
    hello.number(std::uint8_t{0});
    hello.number(std::uint32_t{1});
    hello.number(std::uint64_t{7});
    connection.send_bytes(hello.view());
    (void)connection.recv_bytes({}, patience);
    mp::Encoder request;
    request.number(static_cast<std::uint8_t>(random() % 11));
    if (i % 2 == 0) request.number(list.id());
    if (i % 4 == 0) {
      static constexpr std::array methods{"get",    "slice",     "apply_item", "calculate",
                                          "append", "set_slice", "index"};
      request.text(methods.at(random() % methods.size()));
    }
    for (auto size = random() % 40; size > 0; --size) {
      request.number(static_cast<std::uint8_t>(random() % 4 == 0 ? random() : random() % 3));
    }
    connection.send_bytes(request.view());
  }
  EXPECT_NO_THROW(list.clear());
  expect_that_it_serves();
}

TEST_F(ManagerFaults, AClientThatDoesNotReadHoldsUpNobody) {
  auto list = manager.list(std::vector<std::string>(64, std::string(1U << 18, 'x')));
  Shared<Gate> stuck;
  Forked lazy([&] {
    auto connection = mp::Client(manager.address(), {.authkey = "key"});
    mp::Encoder hello;
    hello.number(std::uint8_t{0});
    hello.number(std::uint32_t{1});
    hello.number(std::uint64_t{9});
    connection.send_bytes(hello.view());
    (void)connection.recv_bytes();
    mp::Encoder request;  // All 16 MiB, and not a byte of them is read.
    request.number(std::uint8_t{2});
    request.number(list.id());
    request.text("copy");
    connection.send_bytes(request.view());
    stuck->open();
    for (;;) ::pause();
    return 0;
  });
  ASSERT_TRUE(stuck->wait());
  for (int i = 0; i < 100; ++i) {
    const auto start = std::chrono::steady_clock::now();
    expect_that_it_serves();
    EXPECT_LT(std::chrono::steady_clock::now() - start, 1s);
  }
}

TEST_F(ManagerFaults, TwoHundredAndFiftySixProcessesAreServedAtOnce) {
  auto own = mp::Manager({.address = mp::TcpAddress{"127.0.0.1", 0}, .authkey = "key"});
  auto dict = own.dict<std::string, int>({{"n", 0}});
  const Shared<Gate> gate;
  std::vector<Forked> clients;
  for (int i = 0; i < 256; ++i) {
    clients.emplace_back([&] {
      gate->wait();
      for (int call = 0; call < 5; ++call) dict["n"] += 1;
      return 0;
    });
  }
  gate->open();
  for (auto& client : clients) EXPECT_EQ(client.wait(), 0);
  EXPECT_EQ(dict["n"], 256 * 5);
}

TEST_F(ManagerFaults, TwoHundredAndFiftySixThatComeBeforeTheFirstHasAnsweredAreLetIn) {
  const auto own = mp::Manager({.authkey = "key"});
  const mp::AuthenticationString key("key");
  std::vector<mp::Connection> clients;
  for (int i = 0; i < 256; ++i) {
    clients.push_back(mp::Client(own.address(), {.timeout = patience}));
  }
  for (auto& client : clients) {
    EXPECT_NO_THROW(mp::connection::answer_challenge(client, key, patience));
    EXPECT_NO_THROW(mp::connection::deliver_challenge(client, key, patience));
  }
}

TEST_F(ManagerFaults, AFloodOfConnectionsKeepsOutNobodyWhoAnswersInFiftyMilliseconds) {
  const auto own = mp::Manager({.authkey = "key", .limits = {.max_strangers = 64}});
  const mp::AuthenticationString key("key");
  std::atomic<bool> over{false};
  std::thread flood([&] {
    std::deque<mp::Connection> held;
    while (!over) {
      held.push_back(mp::Client(own.address(), {.timeout = patience}));
      if (held.size() > 256) held.pop_front();
    }
  });
  for (int round = 0; round < 2; ++round) {
    auto honest = mp::Client(own.address(), {.timeout = patience});
    EXPECT_TRUE(mp::detail::wait_fd(honest.fileno(), POLLIN, mp::detail::Deadline(patience)));
    std::this_thread::sleep_for(50ms);  // The way there and back.
    EXPECT_NO_THROW(mp::connection::answer_challenge(honest, key, patience));
    EXPECT_NO_THROW(mp::connection::deliver_challenge(honest, key, patience));
  }
  over = true;
  flood.join();
}

TEST_F(ManagerFaults, WhoComesWhenDescriptorsHaveRunOutWaitsAndIsLetIn) {
  const auto own = mp::Manager({.authkey = "key"});
  const std::string directory = "/proc/" + std::to_string(*own.pid()) + "/fd";
  std::set<rlim_t> used;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    used.insert(std::stoul(entry.path().filename()));
  }
  rlim_t last = 0;
  for (int free = 0; free < 2; ++last) {
    if (!used.contains(last)) ++free;
  }
  rlimit before{};
  mp::detail::check(::prlimit(*own.pid(), RLIMIT_NOFILE, nullptr, &before), "prlimit");
  const rlimit few{last, before.rlim_max};
  mp::detail::check(::prlimit(*own.pid(), RLIMIT_NOFILE, &few, nullptr), "prlimit");
  std::vector<mp::Connection> clients;
  bool waits = false;
  while (!waits && clients.size() < 100) {
    clients.push_back(mp::Client(own.address(), {.timeout = patience}));
    waits = !mp::detail::wait_fd(clients.back().fileno(), POLLIN, mp::detail::Deadline(300ms));
  }
  EXPECT_TRUE(waits);
  mp::detail::check(::prlimit(*own.pid(), RLIMIT_NOFILE, &before, nullptr), "prlimit");
  const mp::AuthenticationString key("key");
  EXPECT_NO_THROW(mp::connection::answer_challenge(clients.back(), key, patience));
  EXPECT_NO_THROW(mp::connection::deliver_challenge(clients.back(), key, patience));
}

TEST_F(ManagerFaults, ABarrierThatNobodyHasAnyMoreMayHaveItsLastWaiterEnd) {
  RawClient other(insider(), 11);
  {
    RawClient waiter(insider(), 11);
    mp::Encoder create;
    create.number(std::uint8_t{1});
    create.text("Barrier");
    create.number(std::int64_t{2});
    auto reply = waiter.call(create);
    EXPECT_EQ(reply.number<std::uint8_t>(), 0);
    const auto barrier = reply.number<std::uint64_t>();
    mp::Encoder wait;
    wait.number(std::uint8_t{2});
    wait.number(barrier);
    wait.text("wait");
    wait.number(std::int64_t{-1});
    waiter.send(wait);
    mp::Encoder waiting;
    waiting.number(std::uint8_t{2});
    waiting.number(barrier);
    waiting.text("n_waiting");
    const auto count = [&] {
      auto answer = other.call(waiting);
      EXPECT_EQ(answer.number<std::uint8_t>(), 0);
      return answer.number<std::uint64_t>();
    };
    while (count() == 0) std::this_thread::yield();
    mp::Encoder release;
    release.number(std::uint8_t{4});
    release.number(barrier);
    other.send(release);
    EXPECT_EQ(other.number_of_objects(), 1U);
  }
  const mp::detail::Deadline deadline(patience);
  while (other.number_of_objects() != 0 && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(other.number_of_objects(), 0U);
  expect_that_it_serves();
}

TEST_F(ManagerFaults, ARequestThatIsTooLongIsAnErrorBeforeItIsSent) {
  auto lock = manager.Lock();
  auto list = manager.list<std::string>();
  lock.acquire();
  EXPECT_THROW(list.append(std::string(65U << 20, 'x')), mp::ValueError);
  EXPECT_TRUE(lock.locked());  // The connection has not gone.
  EXPECT_TRUE(list.empty());
  lock.release();
}

TEST_F(ManagerFaults, AReplyAndAPoolHaveLimitsToo) {
  const auto own = mp::Manager({.limits = {.max_reply = 1U << 20, .max_workers = 4}});
  auto list = own.list(std::vector<std::string>(1, std::string(1U << 16, 'x')));
  EXPECT_EQ(list.get_many(std::vector<std::int64_t>(8, 0)).size(), 8U);
  EXPECT_THROW((void)list.get_many(std::vector<std::int64_t>(1000, 0)), mp::ValueError);
  EXPECT_THROW((void)own.Pool(5), mp::ValueError);
  auto queue = own.Queue<std::string>();
  queue.put_many(std::vector<std::string>(40, std::string(1U << 16, 'x')));
  const auto first = queue.get_many(40).size();
  EXPECT_LT(first, 40U);
  EXPECT_EQ(first + queue.get_many(40).size() + queue.get_many(40).size(), 40U);
}

TEST_F(ManagerFaults, AReplyForWhichThereIsNoMemoryCostsNoLock) {
  auto lock = manager.RLock();
  auto list = manager.list<std::string>();
  for (int i = 0; i < 4; ++i) list.append(std::string(40U << 20, 'x'));
  Forked client([&] {
    lock.acquire();
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t bytes = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (64U << 20);
    const rlimit few{bytes, bytes};
    mp::detail::check(::setrlimit(RLIMIT_AS, &few), "setrlimit");
    try {
      (void)list.getvalue();
      return 1;
    } catch (const std::bad_alloc&) {
    }
    lock.release();  // RuntimeError if the connection were another one.
    return list.size() == 4 ? 0 : 2;
  });
  EXPECT_EQ(client.wait(), 0);
}

TEST_F(ManagerFaults, WhatAThreadWithoutConnectionReleasedGoesWithTheNextCall) {
  auto list = manager.list({1});
  auto event = std::make_optional(manager.Event());
  std::thread([&] { event.reset(); }).join();
  EXPECT_EQ(list.size(), 1U);
  EXPECT_EQ(RawClient(insider(), 12).number_of_objects(), 1U);
}

TEST_F(ManagerFaults, ClientsKilledAtRandomLeaveLocksAndReferencesToOthers) {
  auto lock = manager.Lock();
  auto list = manager.list<int>();
  auto dict = manager.dict<int, int>({{0, 0}});
  int deaths = 0;
  for (int round = 0; round < 60; ++round) {
    const int before = dict[0];
    Forked victim([&] {
      for (;;) {
        try {
          lock.acquire();
        } catch (const mp::OwnerDied&) {
        }
        dict[0] += 1;
        auto own = manager.list({1});
        list.append(1);
        lock.release();
      }
      return 0;
    });
    const mp::detail::Deadline deadline(patience);
    while (dict[0] < before + 3 && !deadline.passed()) std::this_thread::yield();
    victim.kill();
    try {
      ASSERT_TRUE(lock.acquire(patience));
    } catch (const mp::OwnerDied&) {
      ++deaths;
    }
    lock.release();
  }
  EXPECT_GE(deaths, 1);
  const mp::detail::Deadline deadline(patience);
  while (manager.number_of_objects() > 3 && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(manager.number_of_objects(), 3U);
}

TEST_F(ManagerFaults, AServerKilledInMidCallIsAnErrorWithinASecond) {
  auto list = manager.list(std::vector<std::string>(1000, std::string(10'000, 'x')));
  std::atomic<bool> running{false};
  std::chrono::steady_clock::time_point death;
  std::thread killer([&, pid = *manager.pid()] {
    while (!running) std::this_thread::yield();
    ::kill(pid, SIGKILL);
    death = std::chrono::steady_clock::now();
  });
  try {
    for (;;) {
      (void)list.copy();
      running = true;
    }
  } catch (const mp::EOFError&) {
  } catch (const std::system_error&) {
  }
  const auto end = std::chrono::steady_clock::now();
  killer.join();
  EXPECT_LT(end - death, 1s);
  EXPECT_THROW((void)list.size(), std::system_error);
}

int refusals(const std::string& log) {
  std::ifstream file(log);
  int count = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.find("refused a client from 127.0.0.1") != std::string::npos) ++count;
  }
  return count;
}

TEST_F(ManagerFaults, OneLineIsLoggedForEachStranger) {
  const std::string log = testing::TempDir() + "manager_faults.log";
  mp::test::Shared<std::array<char, 256>> address;
  {
    Forked server([&] {
      const int fd = ::open(log.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
      ::dup2(fd, STDERR_FILENO);
      mp::log_to_stderr(mp::logging::info);
      mp::SyncManager own({.address = mp::TcpAddress{"127.0.0.1", 0}, .authkey = "key"});
      auto served = own.get_server();
      const std::string text = mp::to_string(served.address());
      std::memcpy(address->data() + 1, text.data(), text.size());
      (*address)[0] = 1;
      served.serve_forever();
      return 0;
    });
    const mp::detail::Deadline deadline(patience);
    while (std::atomic_ref((*address)[0]).load() == 0 && !deadline.passed()) {
      std::this_thread::yield();
    }
    const auto where = mp::parse_address(address->data() + 1);
    for (int i = 0; i < 5; ++i) {
      EXPECT_THROW(mp::Client(where, {.authkey = "wrong"}), mp::AuthenticationError);
    }
    for (int i = 0; i < 2000; ++i) mp::Client(where).close();
    auto right = mp::Client(where, {.authkey = "key"});
    const mp::detail::Deadline logged(patience);
    while (refusals(log) < 2005 && !logged.passed()) std::this_thread::yield();
  }
  EXPECT_EQ(refusals(log), 2005);
  std::filesystem::remove(log);
}

}  // namespace
