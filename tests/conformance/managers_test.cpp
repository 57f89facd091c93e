// What CPython's own suite checks of managers, their containers, queues and
// locks, one test an id.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mp/mp.hpp>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "children.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::ended;
using mp::test::patience;
using Clock = std::chrono::steady_clock;

class ManagerConformance : public mp::test::EachMethod {
 protected:
  mp::SyncManager manager = mp::Manager({.start_method = GetParam()});
};
MP_TEST_EACH_METHOD(ManagerConformance);

// --- containers --------------------------------------------------------------

TEST_P(ManagerConformance, manager_list__iteration) {
  auto list = manager.list({0, 1, 2});
  std::vector<int> seen;
  for (const int each : list) {
    seen.push_back(each);
    list.append(9);  // The loop runs over what was there when it began.
  }
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(list.size(), 6U);
  auto it = list.begin();
  while (it != list.end()) ++it;
  EXPECT_TRUE(it == list.end());
}

TEST_P(ManagerConformance, manager_list__nested) {
  auto rows = manager.list<mp::ListProxy<int>>();
  for (int i = 0; i < 3; ++i) rows.append(manager.list({0, 1, 2}));
  rows[0].get().append(3);
  rows[1].get().extend({7, 8});
  EXPECT_EQ(rows[0].get().size(), 4U);
  EXPECT_EQ(rows[1].get()[-1], 8);
  EXPECT_EQ(rows[2].get().getvalue(), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(rows[0].get().pop(), 3);
  auto own = manager.list<mp::BaseProxy>();
  own.append(own);
  EXPECT_TRUE(own[0].get() == own);
}

TEST_P(ManagerConformance, manager_dict__operations) {
  auto dict = manager.dict<int, std::string>();
  std::map<int, std::string> expected;
  for (int i = 65; i < 70; ++i) {
    dict[i] = std::string(1, static_cast<char>(i));
    expected[i] = std::string(1, static_cast<char>(i));
  }
  EXPECT_EQ(dict.copy(), expected);
  EXPECT_EQ(dict.keys(), (std::vector<int>{65, 66, 67, 68, 69}));
  EXPECT_EQ(dict.values(), (std::vector<std::string>{"A", "B", "C", "D", "E"}));
  const std::vector<std::pair<int, std::string>> items(expected.begin(), expected.end());
  EXPECT_EQ(dict.items(), items);
}

TEST_P(ManagerConformance, manager_dict__nested) {
  auto pets = manager.dict<std::string, int>();
  auto outer = manager.dict<std::string, mp::DictProxy<std::string, int>>();
  outer["pets"] = pets;
  pets["ferrets"] = 2;
  outer["pets"]["hamsters"] = 4;
  EXPECT_EQ(outer["pets"]["ferrets"], 2);
  EXPECT_EQ(pets["hamsters"], 4);
  std::optional<mp::DictProxy<std::string, int>> inner = outer["pets"].get();
  { auto dropped = std::move(pets); }
  EXPECT_EQ(outer["pets"]["ferrets"], 2);
  outer.clear();
  EXPECT_EQ(inner->at("ferrets"), 2);
  auto plain = manager.dict<std::string, std::vector<int>>();
  plain["list"] = std::vector{1, 2};
  EXPECT_EQ(plain["list"].get(), (std::vector{1, 2}));
}

TEST_P(ManagerConformance, manager__queue_inside_containers) {
  auto list = manager.list<mp::QueueProxy<int>>();
  auto dict = manager.dict<std::string, mp::QueueProxy<int>>();
  list.append(manager.Queue<int>());
  dict["q"] = list[0].get();
  dict["q"].get().put(100);
  EXPECT_EQ(list[0].get().get(patience), 100);
  EXPECT_TRUE(dict["q"].get().empty());
}

// --- managers ----------------------------------------------------------------

class FooBar {
 public:
  [[nodiscard]] std::string f() const { return "f()"; }
  void g() { throw mp::ValueError("g()"); }
  [[nodiscard]] std::string hidden() const { return "_h()"; }
};

std::vector<int> squares(FooBar&, int count) {
  std::vector<int> all;
  for (int i = 0; i < count; ++i) all.push_back(i * i);
  return all;
}

mp::BaseManager foo_manager(mp::StartMethod method) {
  mp::BaseManager manager({.start_method = method});
  manager.register_type<FooBar>("Foo", {mp::method<&FooBar::f>("f"), mp::method<&FooBar::g>("g"),
                                        mp::method<&squares>("squares")});
  manager.register_type<FooBar>("Bar",
                                {mp::method<&FooBar::f>("f"), mp::method<&FooBar::hidden>("_h")});
  return manager;
}

void check_foo_manager(mp::BaseManager& manager) {
  auto foo = manager.create("Foo");
  auto bar = manager.create("Bar");
  EXPECT_EQ(foo.callmethod<std::string>("f"), "f()");
  EXPECT_THROW(foo.callmethod("g"), mp::ValueError);
  EXPECT_THROW(foo.callmethod<std::string>("_h"), mp::AttributeError);
  EXPECT_EQ(bar.callmethod<std::string>("f"), "f()");
  EXPECT_EQ(bar.callmethod<std::string>("_h"), "_h()");
  EXPECT_THROW(bar.callmethod("g"), mp::AttributeError);
  EXPECT_EQ(foo.callmethod<std::vector<int>>("squares", 4), (std::vector{0, 1, 4, 9}));
}

TEST_P(ManagerConformance, manager__custom_type_explicit_start) {
  auto own = foo_manager(GetParam());
  own.start();
  check_foo_manager(own);
  own.shutdown();
  EXPECT_EQ(own.exitcode(), 0);
}

TEST_P(ManagerConformance, manager__custom_type_context_prestarted) {
  auto own = foo_manager(GetParam());
  own.start();
  {
    mp::BaseManager scoped = std::move(own);
    check_foo_manager(scoped);
    own = std::move(scoped);
  }
  own.shutdown();
  EXPECT_EQ(own.exitcode(), 0);
}

using Row =
    std::tuple<std::string, std::optional<int>, bool, double, std::string, std::vector<std::byte>>;
const Row row{"hello world",
              std::nullopt,
              true,
              2.25,
              "hall\u00e5 v\u00e4rlden",
              {std::byte{0}, std::byte{255}}};

void put_row(const mp::Address& address, const std::string& key) {
  mp::SyncManager client({.address = address, .authkey = key});
  client.connect();
  client.create<mp::QueueProxy<Row>>("get_queue").put(row);
}

TEST_P(ManagerConformance, manager__remote_queue) {
  const std::string key(32, '\x07');
  mp::BaseManager here({.address = mp::TcpAddress{"localhost", 0}, .authkey = key});
  here.register_callable("get_queue", [queue = mp::managed::Queue<Row>()] { return queue; });
  auto server = here.get_server();
  std::thread serving([&] { server.serve_forever(); });
  auto child = start(put_row, server.address(), key);
  {
    mp::SyncManager reader({.address = server.address(), .authkey = key});
    reader.connect();
    EXPECT_EQ(reader.create<mp::QueueProxy<Row>>("get_queue").get(patience), row);
  }
  EXPECT_EQ(ended(child), 0);
  server.stop();
  serving.join();
}

TEST_P(ManagerConformance, manager__rapid_restart) {
  mp::SyncManager first(
      {.address = mp::TcpAddress{"localhost", 0}, .authkey = "key", .start_method = GetParam()});
  first.start();
  const mp::Address address = first.address();
  EXPECT_EQ(first.list({1}).size(), 1U);
  first.shutdown();
  mp::SyncManager second({.address = address, .authkey = "key", .start_method = GetParam()});
  second.start();
  EXPECT_EQ(second.address(), address);
  EXPECT_EQ(second.list({1, 2}).size(), 2U);
}

TEST_P(ManagerConformance, manager__initializer) {
  auto [here, there] = mp::Pipe(false);
  mp::SyncManager own({.start_method = GetParam()});
  own.start([](mp::Connection report, int number) { report.send(number); }, there, 42);
  EXPECT_TRUE(here.poll());
  EXPECT_EQ(here.recv<int>(), 42);
  EXPECT_FALSE(here.poll());
}

TEST_P(ManagerConformance, pool__initializer) {
  auto space = manager.Namespace();
  space.set("test", 0);
  mp::Pool pool(
      {.processes = 1, .start_method = GetParam()},
      [](const mp::NamespaceProxy& ns) { ns.set("test", 1); }, space);
  pool.close();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_EQ(space.get<int>("test"), 1);
}

// --- an object made in the parent, used in a child, checked in the parent ------

TEST_P(ManagerConformance, manager__event) {
  auto event = manager.Event();
  event.set();
  auto child = start(
      [](const mp::EventProxy& e) {
        if (!e.is_set() || !e.wait()) mp::exit(1);
        e.clear();
      },
      event);
  EXPECT_EQ(ended(child), 0);
  EXPECT_FALSE(event.is_set());
}

TEST_P(ManagerConformance, manager__lock) {
  auto lock = manager.Lock();
  auto child = start([](const mp::LockProxy& l) { l.acquire(); }, lock);
  EXPECT_EQ(ended(child), 0);
  EXPECT_TRUE(lock.locked());
  lock.release();  // In the name of the child that is gone.
  EXPECT_THROW(lock.release(), mp::RuntimeError);
}

TEST_P(ManagerConformance, manager__rlock) {
  auto lock = manager.RLock();
  auto child = start(
      [](const mp::RLockProxy& l) {
        l.acquire();
        l.release();
      },
      lock);
  EXPECT_EQ(ended(child), 0);
  EXPECT_FALSE(lock.locked());
}

TEST_P(ManagerConformance, manager__semaphore) {
  for (const auto& semaphore : {manager.Semaphore(), manager.BoundedSemaphore()}) {
    auto child = start([](const mp::SemaphoreProxy& s) { s.acquire(); }, semaphore);
    EXPECT_EQ(ended(child), 0);
    semaphore.release();
    EXPECT_EQ(semaphore.get_value(), 1);
  }
}

TEST_P(ManagerConformance, manager__condition) {
  auto condition = manager.Condition();
  auto child = start(
      [](const mp::ConditionProxy& c) {
        c.acquire();
        c.release();
      },
      condition);
  EXPECT_EQ(ended(child), 0);
  EXPECT_TRUE(condition.acquire(0ms));
  condition.release();
}

TEST_P(ManagerConformance, manager__barrier) {
  auto barrier = manager.Barrier(5);
  auto child = start(
      [](const mp::BarrierProxy& b) {
        if (b.parties() != 5) mp::exit(1);
        b.reset();
      },
      barrier);
  EXPECT_EQ(ended(child), 0);
  EXPECT_FALSE(barrier.broken());
}

TEST_P(ManagerConformance, manager__joinable_queue) {
  auto queue = manager.JoinableQueue<int>();
  queue.put(1);
  auto child = start(
      [](const mp::JoinableQueueProxy<int>& q) {
        if (q.get() != 1) mp::exit(1);
        q.task_done();
        q.put(2);
      },
      queue);
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(queue.get(patience), 2);
  EXPECT_FALSE(queue.join(0ms));
  queue.task_done();
  EXPECT_TRUE(queue.join(patience));
}

TEST_P(ManagerConformance, manager__pool) {
  auto pool = manager.Pool(4);
  auto child = start(
      [](const mp::PoolProxy& p) {
        const auto squares = p.map([](int x) { return x * x; }, {0, 1, 2, 3});
        if (squares != std::vector{0, 1, 4, 9}) mp::exit(1);
        p.terminate();
        if (!p.join(patience)) mp::exit(2);
      },
      pool);
  EXPECT_EQ(ended(child), 0);
  EXPECT_THROW((void)pool.apply([] { return 1; }), mp::ValueError);
}

void use_list(const mp::ListProxy<int>& list) {
  if (list.index(3) != 2 || list.count(1) != 1) mp::exit(1);
  list += std::vector{4, 5};
  list *= 2;
  if (list.size() != 10 || (list + std::vector{1}).size() != 11) mp::exit(2);
  list.extend({1, 2, 3, 4, 5, 6});
  list.sort();
  if (list[0] != 1 || list[-1] != 6) mp::exit(3);
  list.reverse();
  if (list.pop(0) != 6 || list.size() != 15) mp::exit(4);
  if (list.copy() != list.getvalue()) mp::exit(5);
  list.clear();
}

TEST_P(ManagerConformance, manager__list) {
  auto list = manager.list({1, 2, 3});
  auto child = start(use_list, list);
  EXPECT_EQ(ended(child), 0);
  EXPECT_TRUE(list.empty());
}

void use_dict(const mp::DictProxy<std::string, int>& dict) {
  if (dict.size() != 2 || dict["b"] != 2 || dict.get("c", 9) != 9) mp::exit(1);
  if (dict.keys().size() != 2 || dict.values().size() != 2 || dict.items().size() != 2) mp::exit(2);
  if (dict.copy() != std::map<std::string, int>{{"a", 1}, {"b", 2}}) mp::exit(3);
  dict |= std::map<std::string, int>{{"c", 3}};
  if (dict.popitem().first != "c") mp::exit(4);
  if (dict.setdefault("a", 7) != 1 || dict.setdefault("d", 4) != 4) mp::exit(5);
  dict.update({{"e", 5}});
  if (dict.pop("e") != 5 || dict.contains("e")) mp::exit(6);
  dict.clear();
}

TEST_P(ManagerConformance, manager__dict) {
  auto dict = manager.dict<std::string, int>({{"a", 1}, {"b", 2}});
  auto child = start(use_dict, dict);
  EXPECT_EQ(ended(child), 0);
  EXPECT_TRUE(dict.empty());
}

TEST_P(ManagerConformance, manager__array) {
  auto array = manager.Array({0, 1});
  auto child = start(
      [](const mp::ArrayProxy<int>& a) {
        if (a[0] != 0 || a[1] != 1 || a.size() != 2) mp::exit(1);
      },
      array);
  EXPECT_EQ(ended(child), 0);
}

void use_set(const mp::SetProxy<std::string>& set) {
  using Set = std::set<std::string>;
  const Set other{"c", "d"};
  if ((set | other) != Set{"a", "b", "c", "d"}) mp::exit(1);
  if ((set & other) != Set{"c"} || (set - other) != Set{"a", "b"}) mp::exit(2);
  if ((set ^ other) != Set{"a", "b", "d"}) mp::exit(3);
  set |= other;
  set &= Set{"b", "c", "d"};
  set ^= Set{"d", "e"};
  set -= Set{"b"};
  if (set.copy() != Set{"c", "e"} || !set.contains("e")) mp::exit(4);
  set.discard("no such");
  try {
    set.remove("no such");
    mp::exit(5);
  } catch (const mp::KeyError&) {
  }
  set.remove("e");
  set.add("f");
}

TEST_P(ManagerConformance, manager__set_operations) {
  auto set = manager.set<std::string>({"a", "b", "c"});
  auto child = start(use_set, set);
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(set.str(), "{'c', 'f'}");
}

TEST_P(ManagerConformance, manager__set_init) {
  EXPECT_EQ(manager.set(std::set{1, 2}).copy(), (std::set{1, 2}));
  EXPECT_EQ(manager.set(std::vector{2, 1, 2}).copy(), (std::set{1, 2}));
  EXPECT_EQ(manager.set<int>().str(), "set()");
}

// --- queues, locks and signals of a manager --------------------------------------

TEST_P(ManagerConformance, queue__put_until_full__manager) {
  auto queue = manager.Queue<int>(6);
  EXPECT_TRUE(queue.empty());
  for (int i = 1; i <= 5; ++i) queue.put(i);
  queue.put_nowait(6);
  EXPECT_TRUE(queue.full());
  EXPECT_THROW(queue.put_nowait(7), mp::Full);
  const auto begin = Clock::now();
  EXPECT_THROW(queue.put(7, 50ms), mp::Full);
  EXPECT_GE(Clock::now() - begin, 50ms);
  auto child = start(
      [](const mp::QueueProxy<int>& q) {
        for (int i = 1; i <= 6; ++i) {
          if (q.get() != i) mp::exit(1);
        }
      },
      queue);
  EXPECT_EQ(ended(child), 0);
  EXPECT_TRUE(queue.empty());
}

TEST_P(ManagerConformance, queue__get_until_empty__manager) {
  auto queue = manager.Queue<int>();
  auto child = start(
      [](const mp::QueueProxy<int>& q) {
        for (int i = 2; i <= 5; ++i) q.put(i);
      },
      queue);
  for (int i = 2; i <= 5; ++i) EXPECT_EQ(queue.get(patience), i);
  EXPECT_THROW(queue.get_nowait(), mp::Empty);
  const auto begin = Clock::now();
  EXPECT_THROW(queue.get(50ms), mp::Empty);
  EXPECT_GE(Clock::now() - begin, 50ms);
  EXPECT_EQ(ended(child), 0);
}

TEST_P(ManagerConformance, queue__task_done_and_join__manager) {
  auto queue = manager.JoinableQueue<std::optional<int>>();
  std::vector<mp::Process> workers;
  for (int i = 0; i < 4; ++i) {
    workers.push_back(start(
        [](const mp::JoinableQueueProxy<std::optional<int>>& q) {
          while (q.get()) q.task_done();
          q.task_done();
        },
        queue));
  }
  for (int i = 0; i < 10; ++i) queue.put(i);
  EXPECT_TRUE(queue.join(patience));
  for (std::size_t i = 0; i < workers.size(); ++i) queue.put(std::nullopt);
  for (auto& worker : workers) EXPECT_EQ(ended(worker), 0);
}

TEST_P(ManagerConformance, lock__basic__manager) {
  auto lock = manager.Lock();
  EXPECT_TRUE(lock.acquire());
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(lock.acquire(false));
  lock.release();
  EXPECT_FALSE(lock.locked());
  EXPECT_THROW(lock.release(), mp::RuntimeError);
}

TEST_P(ManagerConformance, rlock__basic__manager) {
  auto lock = manager.RLock();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(lock.acquire());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(lock.locked());
    lock.release();
  }
  EXPECT_THROW(lock.release(), mp::RuntimeError);
}

TEST_P(ManagerConformance, semaphore__counting__manager) {
  auto semaphore = manager.Semaphore(2);
  EXPECT_TRUE(semaphore.acquire());
  EXPECT_TRUE(semaphore.acquire());
  EXPECT_FALSE(semaphore.acquire(false));
  for (int value = 1; value <= 4; ++value) {
    semaphore.release();
    EXPECT_EQ(semaphore.get_value(), value);
  }
}

TEST_P(ManagerConformance, bounded_semaphore__counting__manager) {
  auto semaphore = manager.BoundedSemaphore(2);
  EXPECT_TRUE(semaphore.acquire());
  EXPECT_TRUE(semaphore.acquire());
  semaphore.release();
  semaphore.release();
  EXPECT_THROW(semaphore.release(), mp::ValueError);
  EXPECT_EQ(semaphore.get_value(), 2);
}

TEST_P(ManagerConformance, semaphore__acquire_timeouts__manager) {
  auto semaphore = manager.Semaphore(0);
  EXPECT_FALSE(semaphore.acquire(false));
  EXPECT_FALSE(semaphore.acquire(false, patience));
  const auto begin = Clock::now();
  EXPECT_FALSE(semaphore.acquire(50ms));
  EXPECT_GE(Clock::now() - begin, 50ms);
}

TEST_P(ManagerConformance, condition__notify_all__manager) {
  auto condition = manager.Condition();
  auto sleeping = manager.Semaphore(0);
  auto woken = manager.Value(0);
  const auto sleep = [](const mp::ConditionProxy& c, const mp::SemaphoreProxy& sleeping,
                        const mp::ValueProxy<int>& woken) {
    const std::scoped_lock guard(c);
    if (c.wait(10ms)) mp::exit(1);
    sleeping.release();
    if (!c.wait(patience)) mp::exit(2);
    woken.value += 1;
  };
  std::vector<mp::Process> children;
  for (int i = 0; i < 3; ++i) children.push_back(start(sleep, condition, sleeping, woken));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(sleeping.acquire(patience));
  {
    const std::scoped_lock guard(condition);
    EXPECT_EQ(woken.get(), 0);
    condition.notify_all();
  }
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(woken.get(), 3);
}

TEST_P(ManagerConformance, condition__wait_for__manager) {
  auto condition = manager.Condition();
  auto state = manager.Value(-1);
  auto child = start(
      [](const mp::ConditionProxy& c, const mp::ValueProxy<int>& state) {
        const std::scoped_lock guard(c);
        state.set(0);
        c.notify();
        if (!c.wait_for([&] { return state.get() == 4; }, patience)) mp::exit(1);
      },
      condition, state);
  {
    const std::scoped_lock guard(condition);
    EXPECT_TRUE(condition.wait_for([&] { return state.get() == 0; }, patience));
  }
  for (int i = 0; i < 4; ++i) {
    const std::scoped_lock guard(condition);
    state.value += 1;
    condition.notify();
  }
  EXPECT_EQ(ended(child), 0);
}

TEST_P(ManagerConformance, event__basic__manager) {
  auto event = manager.Event();
  EXPECT_FALSE(event.is_set());
  EXPECT_FALSE(event.wait(0ms));
  const auto begin = Clock::now();
  EXPECT_FALSE(event.wait(50ms));
  EXPECT_GE(Clock::now() - begin, 50ms);
  event.set();
  EXPECT_TRUE(event.wait());
  event.clear();
  auto child = start([](const mp::EventProxy& e) { e.set(); }, event);
  EXPECT_TRUE(event.wait(patience));
  EXPECT_EQ(ended(child), 0);
}

TEST_P(ManagerConformance, barrier__ten_passes__manager) {
  static constexpr int parties = 3;
  auto barrier = manager.Barrier(parties);
  auto counts = manager.list(std::vector<int>(10));
  const auto pass = [](const mp::BarrierProxy& b, const mp::ListProxy<int>& counts) {
    for (int i = 0; i < 10; ++i) {
      counts[i] += 1;
      b.wait();
      if (counts[i] != parties) mp::exit(1);
      b.wait();
    }
  };
  std::vector<mp::Process> children;
  for (int i = 0; i < parties; ++i) children.push_back(start(pass, barrier, counts));
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(barrier.n_waiting(), 0U);
  EXPECT_FALSE(barrier.broken());
}

TEST_P(ManagerConformance, barrier__wait_index__manager) {
  auto barrier = manager.Barrier(5);
  auto indices = manager.list<std::size_t>();
  std::vector<mp::Process> children;
  for (int i = 0; i < 5; ++i) {
    children.push_back(start([](const mp::BarrierProxy& b,
                                const mp::ListProxy<std::size_t>& list) { list.append(b.wait()); },
                             barrier, indices));
  }
  for (auto& child : children) EXPECT_EQ(ended(child), 0);
  indices.sort();
  EXPECT_EQ(indices.getvalue(), (std::vector<std::size_t>{0, 1, 2, 3, 4}));
}

TEST_P(ManagerConformance, barrier__single_party__manager) {
  auto barrier = manager.Barrier(1);
  EXPECT_EQ(barrier.wait(), 0U);
  EXPECT_EQ(barrier.wait(), 0U);
}

// --- promised, and checked by nobody else ----------------------------------------

TEST_P(ManagerConformance, extra__manager_started_twice) {
  EXPECT_THROW(manager.start(), mp::ProcessError);
  EXPECT_THROW((void)manager.get_server(), mp::ProcessError);
  manager.shutdown();
  try {
    manager.start();
    FAIL();
  } catch (const mp::ProcessError& error) {
    EXPECT_STREQ(error.what(), "Manager has shut down");
  }
}

TEST_P(ManagerConformance, extra__manager_refcount) {
  {
    auto list = manager.list({1});
    auto dict = manager.dict<int, mp::ListProxy<int>>();
    dict[0] = list;
    auto child = start([](const mp::ListProxy<int>& l) { l.append(1); }, list);
    EXPECT_EQ(ended(child), 0);
    EXPECT_EQ(manager.number_of_objects(), 2U);
  }
  EXPECT_EQ(manager.number_of_objects(), 0U);
}

TEST_P(ManagerConformance, extra__proxy_str_vs_repr) {
  auto list = manager.list({1, 2});
  EXPECT_EQ(list.str(), "[1, 2]");
  EXPECT_EQ(list.repr(), fmt::format("<ListProxy object, typeid 'list' at {:#x}>", list.id()));
}

TEST_P(ManagerConformance, survive__manager_client_killed_with_lock) {
  auto lock = manager.RLock();
  auto held = manager.Event();
  auto child = start(
      [](const mp::RLockProxy& l, const mp::EventProxy& held) {
        l.acquire();
        l.acquire();
        held.set();
        held.clear();
        held.wait();
      },
      lock, held);
  ASSERT_TRUE(held.wait(patience));
  mp::test::crash(child);
  EXPECT_THROW(lock.acquire(patience), mp::OwnerDied);
  lock.release();
  EXPECT_FALSE(lock.locked());
}

TEST_P(ManagerConformance, survive__proxy_after_fork) {
  auto list = manager.list<int>();
  list.append(0);
  mp::test::Forked child([&] {
    for (int i = 0; i < 100; ++i) list.append(1);
    return 0;
  });
  for (int i = 0; i < 100; ++i) EXPECT_EQ(list[0], 0);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(list.size(), 101U);
}

}  // namespace
