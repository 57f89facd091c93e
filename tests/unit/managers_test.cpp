#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <forked.hpp>
#include <functional>
#include <map>
#include <mp/mp.hpp>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

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

// --- lists and dicts ---------------------------------------------------------

class ProxyTest : public testing::Test {
 protected:
  mp::SyncManager manager = mp::Manager();
};

TEST_F(ProxyTest, AListHasPythonsInterface) {
  auto list = manager.list({3, 1, 2});
  EXPECT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0], 3);
  EXPECT_EQ(list[-1], 2);
  list.insert(0, 9);
  list.insert(-1, 8);
  EXPECT_EQ(list.getvalue(), (std::vector<int>{9, 3, 1, 8, 2}));
  EXPECT_EQ(list.index(8), 3U);
  EXPECT_THROW((void)list.index(77), mp::ValueError);
  EXPECT_TRUE(list.contains(1));
  EXPECT_EQ(list.count(1), 1U);
  list.remove(9);
  EXPECT_THROW(list.remove(9), mp::ValueError);
  list.sort();
  EXPECT_EQ(list.getvalue(), (std::vector<int>{1, 2, 3, 8}));
  list.sort([](int a, int b) { return a > b; });
  EXPECT_EQ(list.str(), "[8, 3, 2, 1]");
  list.reverse();
  EXPECT_EQ(list.slice(1, -1), (std::vector<int>{2, 3}));
  EXPECT_EQ(list.slice(-2), (std::vector<int>{3, 8}));
  EXPECT_EQ(list.slice(5, 2), std::vector<int>());
  list.set_slice(1, 3, std::vector{7, 7, 7});
  EXPECT_EQ(list.getvalue(), (std::vector<int>{1, 7, 7, 7, 8}));
  list.erase(1, 3);
  EXPECT_EQ(list.pop(), 8);
  EXPECT_EQ(list.pop(0), 1);
  EXPECT_EQ((list + std::vector{5}), (std::vector<int>{7, 5}));
  EXPECT_EQ(list * 2, (std::vector<int>{7, 7}));
  EXPECT_EQ(-1 * list, std::vector<int>());
  list.append(6);
  list.erase(-1);
  EXPECT_THROW(list.erase(1), mp::IndexError);
  list *= 3;
  list += std::vector{1};
  EXPECT_EQ(list.getvalue(), (std::vector<int>{7, 7, 7, 1}));
  EXPECT_EQ(list.get_many({0, -1}), (std::vector<int>{7, 1}));
  int sum = 0;
  for (const int each : list) sum += each;
  EXPECT_EQ(sum, 22);
  list.clear();
  EXPECT_TRUE(list.empty());
  EXPECT_THROW(list.pop(), mp::IndexError);
  EXPECT_THROW((void)list.at(0), mp::IndexError);
  EXPECT_THROW(list[3] = 1, mp::IndexError);
}

TEST_F(ProxyTest, ADictHasPythonsInterfaceInTheOrderOfComing) {
  auto dict = manager.dict<std::string, int>();
  dict["b"] = 2;
  dict["a"] = 1;
  dict.update({{"c", 3}, {"b", 20}});
  EXPECT_EQ(dict.str(), "{'b': 20, 'a': 1, 'c': 3}");
  EXPECT_EQ(dict.keys(), (std::vector<std::string>{"b", "a", "c"}));
  EXPECT_EQ(dict.values(), (std::vector<int>{20, 1, 3}));
  EXPECT_EQ(dict.copy(), (std::map<std::string, int>{{"a", 1}, {"b", 20}, {"c", 3}}));
  EXPECT_EQ(dict.get("a"), 1);
  EXPECT_EQ(dict.get("x"), std::nullopt);
  EXPECT_EQ(dict.get("x", 7), 7);
  EXPECT_THROW((void)dict.at("x"), mp::KeyError);
  EXPECT_THROW(dict["x"] += 1, mp::KeyError);
  EXPECT_TRUE(dict.contains("c"));
  EXPECT_EQ(dict.setdefault("d", 4), 4);
  EXPECT_EQ(dict.setdefault("a", 4), 1);
  EXPECT_EQ(dict.popitem(), (std::pair<std::string, int>("d", 4)));
  EXPECT_EQ(dict.pop("a"), 1);
  EXPECT_EQ(dict.pop("a", -1), -1);
  EXPECT_THROW(dict.erase("a"), mp::KeyError);
  EXPECT_EQ(dict.get_many({"b", "x"}), (std::vector<std::optional<int>>{20, std::nullopt}));
  EXPECT_EQ((dict | std::map<std::string, int>{{"b", 0}, {"y", 25}}),
            (std::map<std::string, int>{{"b", 0}, {"c", 3}, {"y", 25}}));
  dict |= std::map<std::string, int>{{"z", 26}};
  int sum = 0;
  for (const auto& [key, value] : dict) sum += value;
  EXPECT_EQ(sum, 49);
  dict.clear();
  EXPECT_TRUE(dict.empty());
  EXPECT_THROW(dict.popitem(), mp::KeyError);
}

TEST_F(ProxyTest, ADictSurvivesManyInsertionsAndErasures) {
  auto dict = manager.dict<int, std::string>();
  std::map<int, std::string> mirror;
  std::uint32_t random = 1;
  for (int step = 0; step < 3000; ++step) {
    random = random * 1664525 + 1013904223;
    const int key = static_cast<int>((random >> 16) % 200);
    if ((random & 0x8000) != 0) {
      mirror[key] = std::string(static_cast<std::size_t>(key % 40), 'x');
      dict.set(key, mirror[key]);
    } else {
      EXPECT_EQ(dict.pop(key, "none"), mirror.contains(key) ? mirror[key] : "none");
      mirror.erase(key);
    }
  }
  EXPECT_EQ(dict.copy(), mirror);
  EXPECT_EQ(dict.size(), mirror.size());
}

TEST_F(ProxyTest, ElementsAreChangedInTheServerNotInACopy) {
  auto dict = manager.dict<std::string, std::vector<int>>();
  dict["v"] = std::vector<int>{1};
  auto copy = dict["v"].get();
  copy.push_back(2);
  EXPECT_EQ(dict["v"].get(), std::vector<int>{1});
  dict["v"].update([](std::vector<int>& v, int n) { v.push_back(n); }, 2);
  EXPECT_EQ(dict["v"].get(), (std::vector<int>{1, 2}));
}

// The two classic surprises are no programs.
template <class Dict>
concept AssignsIntoAnElement = requires(Dict dict) {
  dict["a"][1] = 1;
};
template <class List>
concept AppendsToAnElement = requires(List list) {
  list[0].push_back(1);
};
static_assert(!AssignsIntoAnElement<mp::DictProxy<std::string, std::map<int, int>>>);
static_assert(!AppendsToAnElement<mp::ListProxy<std::vector<int>>>);
static_assert(AssignsIntoAnElement<mp::DictProxy<std::string, mp::DictProxy<int, int>>>);

TEST_F(ProxyTest, NumbersAreCalculatedInTheServer) {
  auto list = manager.list({10});
  list[0] += 5;
  list[0] -= 1;
  list[0] *= 3;
  EXPECT_EQ(++list[0], 43);
  auto value = manager.Value(1.5);
  value.value += 0.25;
  EXPECT_EQ(value.get(), 1.75);
  auto text = manager.dict<int, std::string>();
  text[1] = "a";
  text[1] += "b";
  EXPECT_EQ(text[1].get(), "ab");
}

TEST_F(ProxyTest, AWholeListIsChangedInOneStep) {
  auto list = manager.list({1, 2, 3, 4});
  const auto removed = list.apply(
      [](std::vector<int>& all, int divisor) {
        return std::erase_if(all, [&](int each) { return each % divisor == 0; });
      },
      2);
  EXPECT_EQ(removed, 2U);
  EXPECT_EQ(list.getvalue(), (std::vector<int>{1, 3}));
}

TEST_F(ProxyTest, ProxiesAreElementsAndLiveAsLong) {
  auto outer = manager.list<mp::ListProxy<int>>();
  for (int i = 0; i < 3; ++i) outer.append(manager.list({i}));
  EXPECT_EQ(manager.number_of_objects(), 4U);
  outer[1].get().append(99);
  EXPECT_EQ(outer[1].get().getvalue(), (std::vector<int>{1, 99}));
  EXPECT_EQ(outer[0].get().getvalue(), std::vector<int>{0});
  EXPECT_EQ(outer.str(), fmt::format("[{}, {}, {}]", outer[0].get().repr(), outer[1].get().repr(),
                                     outer[2].get().repr()));
  auto taken = outer.pop(1);
  outer.clear();
  EXPECT_EQ(taken.getvalue(), (std::vector<int>{1, 99}));
  EXPECT_EQ(manager.number_of_objects(), 2U);
}

TEST_F(ProxyTest, DeeplyNestedObjectsGoOneAfterTheOther) {
  auto list = manager.list<mp::BaseProxy>();
  for (int depth = 0; depth < 2000; ++depth) {
    auto outer = manager.list<mp::BaseProxy>();
    outer.append(list);
    list = outer;
  }
  EXPECT_EQ(manager.number_of_objects(), 2001U);
  list = manager.list<mp::BaseProxy>();
  EXPECT_EQ(manager.number_of_objects(), 1U);
}

TEST_F(ProxyTest, ObjectsGoWithTheirLastProxy) {
  {
    auto list = manager.list<int>();
    const auto copy = list;
    auto event = manager.Event();
    EXPECT_EQ(manager.number_of_objects(), 2U);
  }
  EXPECT_EQ(manager.number_of_objects(), 0U);
}

TEST_F(ProxyTest, NumbersOfObjectsAreNotUsedAgain) {
  std::uint64_t last = 0;
  for (int i = 0; i < 100; ++i) {
    auto list = manager.list<int>();
    EXPECT_GT(list.id(), last);
    last = list.id();
  }
}

TEST_F(ProxyTest, AProxyInFlightKeepsItsObject) {
  auto [here, there] = mp::Pipe();
  here.send(manager.list({1, 2}));
  EXPECT_EQ(manager.number_of_objects(), 1U);
  {
    auto arrived = there.recv<mp::ListProxy<int>>();
    EXPECT_EQ(arrived.size(), 2U);
  }
  EXPECT_EQ(manager.number_of_objects(), 0U);
}

TEST_F(ProxyTest, AProxyDroppedByTheParentAtOnceServesTheForkedChild) {
  auto result = manager.Queue<int>();
  auto gate = manager.Event();
  mp::Process child(
      {.daemon = true},
      [](const mp::ListProxy<int>& list, const mp::EventProxy& gate,
         const mp::QueueProxy<int>& result) {
        gate.wait();
        result.put(static_cast<int>(list.size()));
      },
      manager.list({1, 2, 3}), gate, result);
  child.start();  // From here on only the child has the list.
  EXPECT_EQ(manager.number_of_objects(), 3U);
  gate.set();
  EXPECT_EQ(result.get(patience), 3);
  child.join(patience);
  // The server learns of the child's end by its connection's.
  const mp::detail::Deadline deadline(patience);
  while (manager.number_of_objects() != 2 && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(manager.number_of_objects(), 2U);
}

TEST_F(ProxyTest, AKilledClientsReferencesAreGivenBack) {
  auto gate = manager.Event();
  mp::Process child(
      {.daemon = true},
      [](mp::Address address, const mp::EventProxy& gate) {
        mp::SyncManager mine({.address = address});
        mine.connect();
        auto list = mine.list<int>();
        gate.set();
        for (;;) ::pause();
      },
      manager.address(), gate);
  child.start();
  ASSERT_TRUE(gate.wait(patience));
  EXPECT_EQ(manager.number_of_objects(), 2U);
  child.kill();
  child.join();
  const mp::detail::Deadline deadline(patience);
  while (manager.number_of_objects() != 1 && !deadline.passed()) std::this_thread::yield();
  EXPECT_EQ(manager.number_of_objects(), 1U);
}

TEST_F(ProxyTest, AForkedChildHasAConnectionOfItsOwn) {
  auto list = manager.list<int>();
  list.append(1);
  mp::test::Forked child([&] {
    for (int i = 0; i < 200; ++i) list.append(2);
    return 0;
  });
  for (int i = 0; i < 200; ++i) EXPECT_EQ(list[0], 1);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(list.size(), 201U);
}

TEST_F(ProxyTest, ThreadsHaveConnectionsOfTheirOwn) {
  auto dict = manager.dict<int, int>();
  auto lock = manager.RLock();
  std::vector<std::thread> threads;
  for (int id = 0; id < 8; ++id) {
    threads.emplace_back([&, id] {
      dict[id] = 0;
      for (int i = 0; i < 50; ++i) {
        const std::scoped_lock guard(lock);
        dict[id] = dict[id] + 1;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (int id = 0; id < 8; ++id) EXPECT_EQ(dict[id], 50);
}

// As in a part of a message whose shape is not compared.
template <class As, class P>
As taken_as(const P& proxy) {
  mp::Encoder out;
  mp::encode(out, proxy);
  std::vector<mp::detail::UniqueFd> fds;
  for (const auto& fd : out.descriptors()) fds.push_back(fd.duplicate());
  mp::Decoder in(out.view(), fds);
  return mp::decode<As>(in);
}

TEST_F(ProxyTest, TheWrongTypeOfElementsIsSeen) {
  const auto list = manager.list({1});
  EXPECT_THROW(taken_as<mp::ListProxy<std::string>>(list), mp::TypeError);
  EXPECT_THROW((taken_as<mp::DictProxy<int, int>>(list)), mp::TypeError);
  auto [here, there] = mp::Pipe();
  here.send(list);
  EXPECT_THROW(there.recv<mp::ListProxy<std::string>>(), mp::PicklingError);
  auto space = manager.Namespace();
  space.set("x", 10);
  EXPECT_THROW((void)space.get<std::string>("x"), mp::TypeError);
}

TEST_F(ProxyTest, ANamespaceHasAttributesOfAnyTypes) {
  auto space = manager.Namespace();
  space.set("x", 10);
  space.set("name", "Bob");
  space.set("list", manager.list({1}));
  EXPECT_EQ(space.get<int>("x"), 10);
  EXPECT_EQ(space.get<std::string>("name"), "Bob");
  EXPECT_EQ(space.get<mp::ListProxy<int>>("list").size(), 1U);
  EXPECT_TRUE(space.contains("x"));
  space.erase("list");
  EXPECT_THROW((void)space.get<int>("list"), mp::AttributeError);
  EXPECT_THROW(space.erase("list"), mp::AttributeError);
  EXPECT_EQ(space.str(), "Namespace(name='Bob', x=10)");
}

TEST_F(ProxyTest, AnArrayKeepsItsSize) {
  auto array = manager.Array({1.5, 2.5});
  array[1] = 3.5;
  array.set_slice(0, 1, std::vector{0.5});
  EXPECT_EQ(array.getvalue(), (std::vector<double>{0.5, 3.5}));
  EXPECT_THROW(array.set_slice(0, 1, std::vector<double>()), mp::ValueError);
  EXPECT_THROW((void)array.at(2), mp::IndexError);
  EXPECT_EQ(fmt::format("{}", array), "[0.5, 3.5]");
}

TEST_F(ProxyTest, TextsAreTheObjectsAndReprsTheProxys) {
  auto list = manager.list<std::string>();
  list.append("it's");
  EXPECT_EQ(fmt::format("{}", list), "[\"it's\"]");
  EXPECT_EQ(list.repr(), fmt::format("<ListProxy object, typeid 'list' at {:#x}>", list.id()));
  EXPECT_EQ(fmt::format("{}", manager.Value(3)), "Value(3)");
  std::ostringstream out;
  list[0] += "!";
  out << list << ' ' << list[0] << ' ' << manager.Value(3);
  EXPECT_EQ(out.str(), "[\"it's!\"] it's! Value(3)");
  const auto has_its_repr = [](const auto& proxy) {
    std::ostringstream text;
    text << proxy;
    EXPECT_EQ(text.str(), proxy.repr());
    EXPECT_EQ(fmt::format("{}", proxy), proxy.repr());
  };
  has_its_repr(manager.Queue<int>());
  has_its_repr(manager.Lock());
  has_its_repr(manager.RLock());
  has_its_repr(manager.Semaphore(1));
  has_its_repr(manager.Condition());
  has_its_repr(manager.Event());
  has_its_repr(manager.Barrier(2));
  auto pool = manager.Pool(1);
  has_its_repr(pool);
  has_its_repr(pool.apply_async([] { return 1; }));
  has_its_repr(pool.map_async([](int x) { return x; }, std::vector{1}));
  has_its_repr(mp::BaseProxy(list));
  EXPECT_NE(manager.debug_info().find("list len=1"), std::string::npos);
}

TEST_F(ProxyTest, AssigningAProxyOfAValueChangesNoValue) {
  auto one = manager.Value(1);
  auto two = manager.Value(2);
  const auto first = one;
  one = two;
  EXPECT_EQ(first.get(), 1);
  EXPECT_EQ(one.get(), 2);
  one.value = 3;
  EXPECT_EQ(two.get(), 3);
  EXPECT_EQ(first.get(), 1);
  one = first;
  std::swap(one, two);
  EXPECT_EQ(one.get(), 3);
  EXPECT_EQ(two.get(), 1);
  std::vector values{manager.Value(10), manager.Value(11), manager.Value(12)};
  const auto last = values[2];
  values.erase(values.begin());
  EXPECT_EQ(values[0].get(), 11);
  EXPECT_EQ(values[1].get(), 12);
  EXPECT_TRUE(values[1] == last);
}

TEST_F(ProxyTest, AComparisonThatContradictsItselfLosesNoElement) {
  std::vector<int> numbers;
  for (int i = 0; i < 1000; ++i) numbers.push_back(i);
  auto list = manager.list(numbers);
  list.sort([](int, int) { return true; });
  auto after = list.getvalue();
  std::sort(after.begin(), after.end());
  EXPECT_EQ(after, numbers);
  list.sort([](int a, int b) { return a % 10 < b % 10; });
  EXPECT_EQ(list.slice(0, 1).size(), 1U);
  auto pairs = manager.list<std::pair<int, int>>({{2, 0}, {1, 1}, {2, 2}, {1, 3}});
  pairs.sort([](const auto& a, const auto& b) { return a.first < b.first; });
  EXPECT_EQ(pairs.getvalue(), (std::vector<std::pair<int, int>>{{1, 1}, {1, 3}, {2, 0}, {2, 2}}));
}

TEST_F(ProxyTest, ABulkCallIsOneRequest) {
  const auto requests = [&] {
    const std::string text = manager.debug_info();
    return std::stoul(text.substr(text.find("requests=") + 9));
  };
  auto list = manager.list<int>();
  auto dict = manager.dict<int, std::string>();
  auto set = manager.set<int>();
  auto queue = manager.Queue<int>();
  const std::vector<int> numbers(1000, 1);
  const std::map<int, std::string> items{{1, "a"}, {2, "b"}, {3, "c"}};
  std::vector<std::function<void()>> bulk{
      [&] { list.extend(numbers); },
      [&] {
        (void)list.get_many({0, 1, 2});
      },
      [&] { (void)list.getvalue(); },
      [&] { list.set_slice(0, 10, numbers); },
      [&] { dict.update(items); },
      [&] {
        (void)dict.get_many({1, 2, 3});
      },
      [&] { (void)dict.items(); },
      [&] { set |= numbers; },
      [&] { set -= numbers; },
      [&] { queue.put_many(numbers); },
      [&] { (void)queue.get_many(1000); },
  };
  for (std::size_t i = 0; i < bulk.size(); ++i) {
    const auto before = requests();
    bulk[i]();
    EXPECT_EQ(requests() - before, 2U) << i;
  }
}

TEST_F(ProxyTest, ALeaseThatWasNotSentIsGivenBack) {
  auto [here, there] = mp::Pipe();
  there.close();
  mp::Queue<mp::ListProxy<int>> queue(1);
  {
    auto list = manager.list({1});
    EXPECT_ANY_THROW(here.send(list));
    queue.put(list);
    EXPECT_THROW(queue.put_nowait(list), mp::Full);
    (void)queue.get();
  }
  EXPECT_EQ(manager.number_of_objects(), 0U);
}

TEST_F(ProxyTest, AForkedChildBeginsWithoutWhatItsParentHasToGiveBack) {
  std::thread([&] { (void)manager.number_of_objects(); }).join();  // A connection that is idle.
  auto gate = manager.Event();
  mp::Process holder(
      {.daemon = true}, [](const mp::EventProxy& event) { event.wait(); }, gate);
  {
    auto list = manager.list({1});
    holder.start();
  }
  mp::test::Forked child([&] { return static_cast<int>(manager.number_of_objects()); });
  EXPECT_EQ(child.wait(), 2);
  gate.set();
  holder.join(patience);
}

TEST_F(ProxyTest, BulkCallsAreExact) {
  std::map<int, int> items;
  for (int i = 0; i < 100'000; ++i) items[i] = -i;
  auto dict = manager.dict(items);
  EXPECT_EQ(dict.size(), items.size());
  EXPECT_EQ(dict.copy(), items);
  std::vector<std::string> texts(20'000, std::string(100, 't'));
  auto list = manager.list(texts);
  EXPECT_EQ(list.getvalue(), texts);
}

// --- queues and locks --------------------------------------------------------

TEST_F(ProxyTest, AQueueIsBoundedAndWaitsForTimeOuts) {
  auto queue = manager.Queue<std::string>(2);
  queue.put("a");
  queue.put("b");
  EXPECT_TRUE(queue.full());
  EXPECT_THROW(queue.put_nowait("c"), mp::Full);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(queue.put("c", 50ms), mp::Full);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 50ms);
  EXPECT_EQ(queue.get(), "a");
  EXPECT_EQ(queue.get_nowait(), "b");
  EXPECT_THROW(queue.get(20ms), mp::Empty);
  EXPECT_THROW(queue.put_many(std::vector<std::string>(3)), mp::Full);
  queue.put_many(std::vector<std::string>{"x", "y"});
  EXPECT_EQ(queue.get_many(9), (std::vector<std::string>{"x", "y"}));
  for (int i = 0; i < 4; ++i) queue.task_done();
  EXPECT_TRUE(queue.join(0ms));
  EXPECT_THROW(queue.task_done(), mp::ValueError);
  queue.put("z");
  EXPECT_FALSE(queue.join(10ms));
  queue.shutdown();
  EXPECT_THROW(queue.put("no"), mp::ShutDown);
  EXPECT_EQ(queue.get(), "z");
  EXPECT_THROW(queue.get(), mp::ShutDown);
}

TEST_F(ProxyTest, WaitersOfABoundedQueueTakeTurns) {
  auto queue = manager.Queue<int>(1);
  constexpr int items = 300;
  std::vector<std::thread> putters;
  for (int p = 0; p < 4; ++p) {
    putters.emplace_back([&, p] {
      for (int i = 0; i < items; ++i) queue.put(p * items + i);
    });
  }
  std::vector<int> seen(4 * items, 0);
  for (int i = 0; i < 4 * items; ++i) ++seen.at(static_cast<std::size_t>(queue.get(patience)));
  for (auto& putter : putters) putter.join();
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 4 * items);
  EXPECT_TRUE(queue.empty());
}

TEST_F(ProxyTest, LocksSayWhatIsWrong) {
  auto lock = manager.Lock();
  EXPECT_THROW(lock.release(), mp::RuntimeError);
  lock.acquire();
  EXPECT_FALSE(lock.acquire(false));
  std::thread([&] { lock.release(); }).join();  // Anybody may.
  auto rlock = manager.RLock();
  rlock.acquire();
  rlock.acquire();
  std::thread([&] {
    EXPECT_FALSE(rlock.acquire(0ms));
    EXPECT_THROW(rlock.release(), mp::RuntimeError);
  }).join();
  rlock.release();
  rlock.release();
  EXPECT_THROW(rlock.release(), mp::RuntimeError);
  auto bounded = manager.BoundedSemaphore(1);
  EXPECT_THROW(bounded.release(), mp::ValueError);
  EXPECT_THROW((void)manager.Semaphore(-1), mp::ValueError);
  EXPECT_THROW((void)manager.Barrier(0), mp::ValueError);
  EXPECT_THROW(manager.Condition().notify(), mp::RuntimeError);
  EXPECT_THROW(manager.Condition().wait(0ms), mp::RuntimeError);
}

TEST_F(ProxyTest, AThreadThatEndsGivesItsLockBack) {
  auto lock = manager.Lock();
  std::thread([&] { lock.acquire(); }).join();
  EXPECT_THROW(lock.acquire(patience), mp::OwnerDied);
  lock.release();
}

TEST_F(ProxyTest, AConditionWakesInOrderAndTimesOut) {
  auto condition = manager.Condition();
  auto woken = manager.list<int>();
  auto waiting = manager.Value(0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      const std::scoped_lock guard(condition);
      while (waiting.get() != i) condition.wait(5ms);
      waiting.set(i + 1);
      if (condition.wait(patience)) woken.append(i);
    });
  }
  for (int notified = 0; notified < 3;) {
    const std::scoped_lock guard(condition);
    if (waiting.get() < 3) continue;
    condition.notify();
    ++notified;
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(woken.getvalue(), (std::vector<int>{0, 1, 2}));
  const std::scoped_lock guard(condition);
  EXPECT_FALSE(condition.wait(10ms));
}

TEST_F(ProxyTest, AnEventPulseWakesWhoWaits) {
  auto event = manager.Event();
  auto ready = manager.Barrier(2);
  std::atomic<bool> woken{false};
  std::thread waiter([&] {
    ready.wait(patience);
    woken = event.wait(patience);
  });
  ready.wait(patience);
  // The waiter's request may not have come yet: pulse until it has.
  while (!woken) {
    event.set();
    event.clear();
  }
  waiter.join();
  EXPECT_FALSE(event.wait(0ms));
}

TEST_F(ProxyTest, ABarrierBreaksByTimeAndByDeathAndIsReset) {
  auto barrier = manager.Barrier(2);
  EXPECT_THROW(barrier.wait(20ms), mp::BrokenBarrierError);
  EXPECT_TRUE(barrier.broken());
  barrier.reset();
  mp::Process child(
      {.daemon = true}, [](const mp::BarrierProxy& b) { b.wait(); }, barrier);
  child.start();
  while (barrier.n_waiting() == 0) std::this_thread::yield();
  child.kill();
  child.join();
  while (!barrier.broken()) std::this_thread::yield();
  barrier.reset();
  std::thread other([&] { barrier.wait(patience); });
  EXPECT_LT(barrier.wait(patience), 2U);
  other.join();
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
