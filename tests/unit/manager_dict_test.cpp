// Dicts and sets of a manager, as the server keeps them.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <mp/mp.hpp>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

// Kibibytes that a process has had in memory at one time.
std::size_t peak_memory(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6));
  }
  throw std::runtime_error("no such process");
}

template <class K>
K make_key(std::mt19937::result_type random) {
  if constexpr (std::is_arithmetic_v<K>) {
    return static_cast<K>(random % 100);
  } else {
    return K(random % 10, random / 10 % 10);
  }
}

template <class V>
V make_value(std::mt19937::result_type random) {
  if constexpr (std::is_arithmetic_v<V>) {
    return static_cast<V>(random % 50);
  } else {
    return random % 2 == 0 ? V() : V(static_cast<int>(random % 50));
  }
}

class ManagerDictTest : public testing::Test {
 protected:
  mp::SyncManager manager = mp::Manager();
};

// Keys and values of all sizes that the server keeps as numbers, and some that
// stop being such.
template <class Types>
class NumbersTest : public ManagerDictTest {};
using Numbers =
    testing::Types<std::pair<int, int>, std::pair<int, double>, std::pair<std::int64_t, float>,
                   std::pair<double, std::int64_t>, std::pair<std::int8_t, bool>,
                   std::pair<std::uint16_t, std::uint64_t>, std::pair<int, std::optional<int>>,
                   std::pair<std::pair<int, int>, int>>;
TYPED_TEST_SUITE(NumbersTest, Numbers);

TYPED_TEST(NumbersTest, AreKeptAsAnythingElseIs) {
  using K = typename TypeParam::first_type;
  using V = typename TypeParam::second_type;
  auto dict = this->manager.template dict<K, V>();
  std::vector<std::pair<K, V>> mirror;  // In the order of coming.
  const auto find = [&](const K& key) {
    return std::find_if(mirror.begin(), mirror.end(),
                        [&](const auto& item) { return item.first == key; });
  };
  const auto set = [&](const K& key, const V& value) {
    const auto place = find(key);
    if (place == mirror.end()) {
      mirror.emplace_back(key, value);
    } else {
      place->second = value;
    }
  };
  std::mt19937 random(1);
  for (int step = 0; step < 600; ++step) {
    const K key = make_key<K>(random());
    const V value = make_value<V>(random());
    switch (random() % 6) {
      case 0:
      case 1:
        dict.set(key, value);
        set(key, value);
        break;
      case 2: {
        const auto place = find(key);
        ASSERT_EQ(dict.contains(key), place != mirror.end());
        if (place == mirror.end()) break;
        ASSERT_EQ(dict.pop(key), place->second);
        mirror.erase(place);
        break;
      }
      case 3: {
        const auto place = find(key);
        ASSERT_EQ(dict.setdefault(key, value), place == mirror.end() ? value : place->second);
        if (place == mirror.end()) mirror.emplace_back(key, value);
        break;
      }
      case 4:
        if (mirror.empty()) break;
        ASSERT_EQ(dict.popitem(), mirror.back());
        mirror.pop_back();
        break;
      default: {
        std::vector<std::pair<K, V>> some;
        for (auto count = random() % 8; count > 0; --count) {
          some.emplace_back(make_key<K>(random()), make_value<V>(random()));
          set(some.back().first, some.back().second);
        }
        dict.update(some);
      }
    }
    ASSERT_EQ(dict.items(), mirror) << "after step " << step;
    if (step % 97 == 0) {
      dict.clear();
      mirror.clear();
    }
  }
}

// Requests of this size are not copied where they are the first of a dict.
TEST_F(ManagerDictTest, ManyNumbersAtOnceKeepTheirOrderAndTheirLastValues) {
  constexpr int count = 150'000;
  std::vector<std::pair<int, int>> items;
  for (int i = 0; i < count; ++i) items.emplace_back(i * 7919 % 50'000, i);
  std::vector<std::pair<int, int>> expected;
  for (int i = 0; i < 50'000; ++i) expected.emplace_back(items[i].first, count - 50'000 + i);
  auto dict = manager.dict<int, int>();
  dict.update(items);
  EXPECT_EQ(dict.items(), expected);
  dict.update(items);
  EXPECT_EQ(dict.items(), expected);
  // What comes later goes behind, also where others have gone.
  for (int i = 0; i < 1'000; ++i) EXPECT_EQ(dict.pop(expected[i].first), expected[i].second);
  expected.erase(expected.begin(), expected.begin() + 1'000);
  std::vector<std::pair<int, int>> more;
  for (int i = 0; i < count; ++i) more.emplace_back(100'000 + i, i);
  dict.update(more);
  expected.insert(expected.end(), more.begin(), more.end());
  EXPECT_EQ(dict.items(), expected);
  EXPECT_EQ(dict.get(100'001), 1);
  EXPECT_EQ(dict.get(250'000), std::nullopt);
}

TEST_F(ManagerDictTest, ANumberThatBecomesAnotherKindOfElementStaysInItsPlace) {
  auto dict = manager.dict<int, std::optional<std::string>>();
  for (int i = 0; i < 100; ++i) dict.set(i, std::nullopt);  // A byte each.
  dict.erase(3);
  dict.update_item(50, [](std::optional<std::string>& value) { value = "more than a number"; });
  EXPECT_EQ(dict.size(), 99U);
  EXPECT_EQ(dict.at(50), "more than a number");
  EXPECT_EQ(dict.at(99), std::nullopt);
  EXPECT_EQ(dict.keys()[3], 4);
  EXPECT_EQ(dict.keys()[49], 50);
  // And an empty dict is of any kind again.
  dict.clear();
  dict.set(1, std::nullopt);
  EXPECT_EQ(dict.at(1), std::nullopt);
}

TEST_F(ManagerDictTest, ASetOfNumbersHasPythonsOperators) {
  auto set = manager.set<int>();
  std::set<int> expected;
  for (int i = 0; i < 1'000; ++i) expected.insert(i * 3);
  set |= expected;
  set -= std::set<int>{0, 3, 7};
  EXPECT_EQ(set.size(), 998U);
  set ^= std::set<int>{6, 7};
  EXPECT_FALSE(set.contains(6));
  EXPECT_TRUE(set.contains(7));
  set &= std::set<int>{7, 9, 10};
  EXPECT_EQ(set.copy(), (std::set<int>{7, 9}));
}

TEST_F(ManagerDictTest, AKeyThatComesAMillionTimesTakesTheMemoryOfOne) {
  constexpr std::size_t allowed = 64U << 10;
  const auto before = peak_memory(*manager.pid());
  const auto bytes = manager.dict<std::uint8_t, std::uint8_t>();
  bytes.update(std::vector(2'000'000, std::pair<std::uint8_t, std::uint8_t>(1, 2)));
  EXPECT_EQ(bytes.size(), 1U);
  const auto ints = manager.dict<int, int>();
  ints.update(std::vector(1'000'000, std::pair(1, 2)));
  EXPECT_EQ(ints.size(), 1U);
  const auto texts = manager.dict<std::string, int>();
  texts.update(std::vector(500'000, std::pair(std::string("key"), 2)));
  EXPECT_EQ(texts.size(), 1U);
  EXPECT_LT(peak_memory(*manager.pid()) - before, allowed);
}

// Keys that were all alike to the index would take the square of the time.
TEST_F(ManagerDictTest, PairsOfEqualNumbersAreFoundAsFastAsOthers) {
  using Key = std::pair<int, int>;
  const auto shortest = [&](const auto& key) {
    std::vector<std::pair<Key, int>> items;
    for (int i = 0; i < 30'000; ++i) items.emplace_back(key(i), i);
    auto best = std::chrono::steady_clock::duration::max();
    for (int round = 0; round < 3; ++round) {
      const auto dict = manager.dict<Key, int>();
      const auto start = std::chrono::steady_clock::now();
      dict.update(items);
      best = std::min(best, std::chrono::steady_clock::now() - start);
    }
    return best;
  };
  const auto row = shortest([](int i) { return Key(0, i); });
  EXPECT_LT(shortest([](int i) { return Key(i, i); }), 20 * row);
  EXPECT_LT(shortest([](int i) { return Key(i, -i); }), 20 * row);
  EXPECT_LT(shortest([](int i) { return Key(i << 16, i << 16); }), 20 * row);
}

}  // namespace
