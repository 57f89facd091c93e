// What CPython's own suite checks of managers and their containers, one test an id.

#include <gtest/gtest.h>

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
