#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mp/mp.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "children.hpp"
#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::patience;

// A type of one's own, as a reader would register it.
class Counter {
 public:
  explicit Counter(int start) : value_(start) {}
  int add(int n) { return value_ += n; }
  [[nodiscard]] int get() const { return value_; }
  void fail(const std::string& text) { throw std::out_of_range(text); }
  [[nodiscard]] std::vector<int> squares() const { return {1, 4, value_ * value_}; }
  int hidden() { return -1; }

 private:
  int value_;
};

struct Point {
  int x = 0;
  std::string name = {};
  friend bool operator==(const Point&, const Point&) = default;
};

mp::BaseManager counter_manager(mp::ManagerOptions options = {}) {
  mp::BaseManager manager(std::move(options));
  manager.register_type<Counter, int>(
      "Counter", {mp::method<&Counter::add>("add"), mp::method<&Counter::get>("get"),
                  mp::method<&Counter::fail>("fail"), mp::method<&Counter::squares>("squares")});
  return manager;
}

// --- under each start method -------------------------------------------------

class ManagersTest : public testing::TestWithParam<mp::StartMethod> {
 protected:
  mp::SyncManager started() { return mp::Manager({.start_method = GetParam()}); }
  // Runs `target(args...)` in a child and waits for its end.
  template <class Target, class... Args>
  int in_child(Target target, Args... args) {
    mp::Process child({.daemon = true, .start_method = GetParam()}, target, args...);
    child.start();
    child.join(patience);
    return child.exitcode().value_or(1000);
  }
};

INSTANTIATE_TEST_SUITE_P(Methods, ManagersTest,
                         testing::Values(mp::StartMethod::fork, mp::StartMethod::spawn,
                                         mp::StartMethod::forkserver),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST_P(ManagersTest, AnObjectMadeHereIsChangedInAChildAndReadHere) {
  auto manager = started();
  auto list = manager.list<std::string>();
  auto dict = manager.dict<std::string, Point>();
  EXPECT_EQ(in_child(
                [](const mp::ListProxy<std::string>& list,
                   const mp::DictProxy<std::string, Point>& dict) {
                  list.append("from the child");
                  dict["p"] = Point{3, "three"};
                },
                list, dict),
            0);
  EXPECT_EQ(list.getvalue(), std::vector<std::string>{"from the child"});
  EXPECT_EQ(dict.at("p"), (Point{3, "three"}));
}

TEST_P(ManagersTest, PlusAssignOfManyProcessesLosesNothing) {
  auto manager = started();
  auto dict = manager.dict<std::string, int>({{"k", 0}, {"j", 0}});
  std::vector<mp::Process> children;
  for (int i = 0; i < 8; ++i) {
    children.emplace_back(
        mp::ProcessOptions{.daemon = true, .start_method = GetParam()},
        [](const mp::DictProxy<std::string, int>& dict) {
          for (int round = 0; round < 250; ++round) {
            dict["k"] += 1;
            dict.update_item(
                "j", [](int& value, int by) { value += by; }, 2);
          }
        },
        dict);
    children.back().start();
  }
  for (auto& child : children) child.join(patience);
  EXPECT_EQ(dict["k"], 2000);
  EXPECT_EQ(dict["j"], 4000);
}

TEST_P(ManagersTest, AClassOfOnesOwnIsMadeAndCalledByName) {
  auto manager = counter_manager({.start_method = GetParam()});
  manager.start();
  auto counter = manager.create("Counter", 5);
  EXPECT_EQ(counter.callmethod<int>("add", 3), 8);
  EXPECT_EQ(in_child([](const mp::BaseProxy& c) { c.callmethod<int>("add", 2); }, counter), 0);
  EXPECT_EQ(counter.callmethod<int>("get"), 10);
  EXPECT_EQ(counter.callmethod<std::vector<int>>("squares"), (std::vector<int>{1, 4, 100}));
  EXPECT_EQ(counter.apply_to<Counter>([](Counter& c, int n) { return c.add(n) * 2; }, 1), 22);
}

TEST_P(ManagersTest, TheInitializerRunsOnceBeforeItServes) {
  auto [here, there] = mp::Pipe(false);
  mp::SyncManager manager({.start_method = GetParam()});
  manager.start([](mp::Connection report) { report.send(mp::current_process().name()); }, there);
  ASSERT_TRUE(here.poll());
  const auto name = here.recv<std::string>();
  EXPECT_EQ(name.rfind("SyncManager-", 0), 0U) << name;
  EXPECT_FALSE(here.poll());
}

TEST_P(ManagersTest, AnInitializerThatThrowsIsAnErrorOfStart) {
  testing::internal::CaptureStderr();
  mp::SyncManager manager({.start_method = GetParam()});
  EXPECT_THROW(manager.start([] { throw std::runtime_error("no luck"); }), mp::EOFError);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("no luck"), std::string::npos);
}

TEST_P(ManagersTest, AKilledServerIsAnErrorOfPendingAndLaterCalls) {
  auto manager = started();
  auto event = manager.Event();
  auto queue = manager.Queue<int>();
  std::chrono::steady_clock::time_point death;
  std::thread killer([&, pid = *manager.pid()] {
    event.wait(50ms);
    ::kill(pid, SIGKILL);
    death = std::chrono::steady_clock::now();
  });
  EXPECT_THROW(queue.get(), mp::EOFError);
  const auto end = std::chrono::steady_clock::now();
  killer.join();
  EXPECT_LT(end - death, 1s);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_ANY_THROW((void)queue.qsize());
  EXPECT_THROW((void)queue.qsize(), std::system_error);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 1s);
}

TEST_P(ManagersTest, ProxiesTravelThroughQueuesOfBothKinds) {
  auto manager = started();
  mp::Queue<mp::ListProxy<int>> local;
  auto remote = manager.Queue<mp::DictProxy<std::string, int>>();
  auto done = manager.Queue<int>();
  mp::Process child(
      {.daemon = true, .start_method = GetParam()},
      [](mp::Queue<mp::ListProxy<int>> local,
         const mp::QueueProxy<mp::DictProxy<std::string, int>>& remote,
         const mp::QueueProxy<int>& done) {
        local.get().append(7);
        remote.get()["seven"] = 7;
        done.put(0);
      },
      local, remote, done);
  child.start();
  auto list = manager.list<int>();
  auto dict = manager.dict<std::string, int>();
  local.put(list);
  remote.put(dict);
  EXPECT_EQ(done.get(patience), 0);
  EXPECT_EQ(list.getvalue(), std::vector<int>{7});
  EXPECT_EQ(dict["seven"], 7);
  child.join(patience);
  EXPECT_EQ(child.exitcode(), 0);
}

TEST_P(ManagersTest, ALockHeldByAKilledClientIsHandedOnAndSaidOnce) {
  auto manager = started();
  auto lock = manager.Lock();
  auto gate = manager.Event();
  mp::Process holder(
      {.daemon = true, .start_method = GetParam()},
      [](const mp::LockProxy& lock, const mp::EventProxy& gate) {
        lock.acquire();
        gate.set();
        for (;;) ::pause();
      },
      lock, gate);
  holder.start();
  ASSERT_TRUE(gate.wait(patience));
  EXPECT_FALSE(lock.acquire(0ms));
  holder.kill();
  EXPECT_THROW(lock.acquire(patience), mp::OwnerDied);
  EXPECT_TRUE(lock.locked());
  lock.release();
  EXPECT_TRUE(lock.acquire(patience));
  lock.release();
  holder.join();
}

// --- managers ----------------------------------------------------------------

TEST(ManagerLifeTest, StatesHavePythonsErrors) {
  mp::SyncManager manager;
  EXPECT_THROW((void)manager.list<int>(), mp::AssertionError);
  manager.shutdown();
  EXPECT_TRUE(manager.join());
  manager.start();
  try {
    manager.start();
    FAIL();
  } catch (const mp::ProcessError& error) {
    EXPECT_STREQ(error.what(), "Already started server");
  }
  manager.shutdown();
  manager.shutdown();
  EXPECT_EQ(manager.exitcode(), 0);
  EXPECT_THROW(manager.start(), mp::ProcessError);
  EXPECT_THROW((void)manager.list<int>(), mp::AssertionError);
  EXPECT_THROW((void)manager.number_of_objects(), mp::AssertionError);
}

TEST(ManagerLifeTest, AServerThatIsStoppedIsKilledByShutdown) {
  auto manager = mp::Manager({.shutdown_timeout = 100ms});
  std::vector<mp::ListProxy<int>> lists;
  for (int i = 0; i < 1000; ++i) lists.push_back(manager.list({i}));
  ::kill(*manager.pid(), SIGSTOP);
  lists.clear();
  manager.shutdown();
  EXPECT_EQ(manager.exitcode(), -SIGKILL);
}

struct Stubborn {
  static mp::test::Shared<mp::test::Gate>& gate() {
    static mp::test::Shared<mp::test::Gate> instance;
    return instance;
  }
  void never_return() {
    gate()->open();
    for (;;) ::pause();
  }
};

TEST(ManagerLifeTest, AServerInAMethodThatNeverReturnsIsTerminatedByShutdown) {
  Stubborn::gate()->word = 0;
  mp::BaseManager manager({.shutdown_timeout = 100ms});
  manager.register_type<Stubborn>("Stubborn",
                                  {mp::method<&Stubborn::never_return>("never_return")});
  manager.start();
  auto stubborn = manager.create("Stubborn");
  std::thread caller([&] { EXPECT_THROW(stubborn.callmethod("never_return"), mp::EOFError); });
  ASSERT_TRUE(Stubborn::gate()->wait());
  manager.shutdown();
  EXPECT_EQ(manager.exitcode(), -SIGTERM);
  caller.join();
}

TEST(ManagerLifeTest, ALeaseEndsSomeTimeAfterItsSender) {
  auto manager = mp::Manager({.limits = {.lease_time = 50ms}});
  auto gate = manager.Event();
  auto [here, there] = mp::Pipe();
  mp::test::Forked sender([&, &out = there] {
    out.send(manager.list({1}));
    return static_cast<int>(manager.number_of_objects());
  });
  EXPECT_EQ(sender.wait(), 2);
  const mp::detail::Deadline deadline(patience);
  while (manager.number_of_objects() != 1 && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(manager.number_of_objects(), 1U);
}

TEST(ManagerLifeTest, AClientThatIsSentAwayTriesAgainFourTimes) {
  mp::Listener listener;
  std::thread overrun([&] {
    for (int i = 0; i < 5; ++i) listener.accept(patience).close();
    listener.close();
  });
  mp::SyncManager client({.address = listener.address(), .authkey = "key"});
  EXPECT_THROW(client.connect(), mp::EOFError);
  overrun.join();
}

TEST(ManagerLifeTest, ATakenAddressIsAnErrorOfStart) {
  mp::Listener listener(mp::TcpAddress{"127.0.0.1", 0});
  mp::SyncManager manager({.address = listener.address()});
  try {
    manager.start();
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EADDRINUSE);
  }
}

TEST(ManagerLifeTest, AWrongKeyIsRefusedAndTheRightOneServed) {
  mp::SyncManager manager({.address = mp::TcpAddress{"127.0.0.1", 0}, .authkey = "right"});
  manager.start();
  mp::SyncManager stranger({.address = manager.address(), .authkey = "wrong"});
  EXPECT_THROW(stranger.connect(), mp::AuthenticationError);
  mp::SyncManager client({.address = manager.address(), .authkey = "right"});
  client.connect();
  EXPECT_EQ(client.list({1, 2}).size(), 2U);
  client.shutdown();  // Not its server.
  EXPECT_EQ(client.list({1, 2, 3}).size(), 3U);
  EXPECT_EQ(manager.list({1}).size(), 1U);
}

TEST(ManagerLifeTest, AChildOfSpawnGetsTheKeyOfItsProxies) {
  mp::SyncManager manager({.authkey = "not the process's"});
  manager.start();
  auto list = manager.list<int>();
  mp::Process child(
      {.daemon = true, .start_method = mp::StartMethod::spawn},
      [](const mp::ListProxy<int>& l) { l.append(1); }, list);
  child.start();
  child.join(patience);
  EXPECT_EQ(child.exitcode(), 0);
  EXPECT_EQ(list.size(), 1U);
}

TEST(ManagerLifeTest, AServerInThisProcessSharesWhatCallablesReturn) {
  mp::BaseManager manager({.authkey = "key"});
  manager.register_callable("get_queue",
                            [queue = mp::managed::Queue<std::string>()] { return queue; });
  auto server = manager.get_server();
  mp::Process client(
      {.daemon = true},
      [](mp::Address address) {
        mp::BaseManager manager({.address = address, .authkey = "key"});
        manager.connect();
        auto mine = manager.create<mp::QueueProxy<std::string>>("get_queue");
        mine.put("hello");
        auto again = manager.create<mp::QueueProxy<std::string>>("get_queue");
        if (again.get() != "hello") mp::exit(2);
        try {
          (void)manager.create("nothing");
          mp::exit(3);
        } catch (const mp::AttributeError&) {
        }
        try {
          (void)manager.create<mp::QueueProxy<int>>("get_queue");
          mp::exit(4);
        } catch (const mp::TypeError&) {
        }
      },
      server.address());
  client.start();
  std::thread waiter([&] {
    client.join(patience);
    server.stop();
  });
  server.serve_forever();
  waiter.join();
  EXPECT_EQ(client.exitcode(), 0);
}

TEST(ManagerLifeTest, CallablesMayReturnLocksEventsAndNamespaces) {
  mp::BaseManager manager({.start_method = mp::StartMethod::fork});
  manager.register_callable("get_lock", [lock = mp::managed::Lock()] { return lock; });
  manager.register_callable("get_event", [event = mp::managed::Event()] { return event; });
  manager.register_callable("get_names", [names = mp::managed::Namespace()] { return names; });
  manager.start();
  auto lock = manager.create<mp::LockProxy>("get_lock");
  EXPECT_TRUE(lock.acquire(patience));
  EXPECT_TRUE(manager.create<mp::LockProxy>("get_lock").locked());
  lock.release();
  manager.create<mp::EventProxy>("get_event").set();
  EXPECT_TRUE(manager.create<mp::EventProxy>("get_event").is_set());
  manager.create<mp::NamespaceProxy>("get_names").set("answer", 42);
  EXPECT_EQ(manager.create<mp::NamespaceProxy>("get_names").get<int>("answer"), 42);
}

TEST(ManagerLifeTest, OnlyExposedMethodsWithTheRightTypesAreCalled) {
  auto manager = counter_manager();
  manager.start();
  auto counter = manager.create("Counter", 1);
  EXPECT_THROW(counter.callmethod("hidden"), mp::AttributeError);
  EXPECT_THROW(counter.callmethod<int>("add", "three"), mp::TypeError);
  EXPECT_THROW((void)counter.callmethod<std::string>("get"), mp::TypeError);
  EXPECT_THROW((void)manager.create("Counter", "three"), mp::TypeError);
  EXPECT_THROW((void)manager.create("list"), mp::AttributeError);
  try {
    counter.callmethod("fail", "index 7");
    FAIL();
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "index 7");
  }
}

TEST(ManagerLifeTest, AServerEndsWithTheProcessThatStartedIt) {
  mp::test::Shared<std::atomic<pid_t>> server;
  mp::test::Shared<mp::test::Gate> gate;
  mp::test::Forked parent([&] {
    mp::SyncManager manager;
    manager.start();
    *server = *manager.pid();
    gate->open();
    for (;;) ::pause();
    return 0;
  });
  ASSERT_TRUE(gate->wait());
  const auto pidfd = mp::detail::open_pidfd(*server);
  parent.kill();
  EXPECT_TRUE(!pidfd || mp::detail::wait_fd(pidfd.get(), POLLIN, mp::detail::Deadline(patience)));
}

TEST(ManagerLifeTest, AnAddressIsTakenAgainAtOnce) {
  mp::Address address = mp::TcpAddress{"127.0.0.1", 0};
  for (int round = 0; round < 5; ++round) {
    mp::SyncManager manager({.address = address});
    manager.start();
    address = manager.address();
    EXPECT_EQ(manager.list({round}).getvalue(), std::vector<int>{round});
  }
}

}  // namespace
