#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <mp/mp.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::patience;

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

}  // namespace
