// What CPython's own suite checks of Value, Array, sharedctypes and the heap
// below them, one test an id.

#include <gtest/gtest.h>

#include <cstring>
#include <mp/detail/heap.hpp>
#include <mp/sharedctypes.hpp>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "children.hpp"

namespace {

using mp::Array;
using mp::Lock;
using mp::RawArray;
using mp::RawValue;
using mp::RLock;
using mp::Value;
using mp::test::ended;

class SharedConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(SharedConformance);

// --- 9: Value, Array ---------------------------------------------------------

void write_all_types(RawValue<int> i, RawValue<double> d, RawValue<short> h, RawValue<char> c,
                     RawValue<std::int64_t> q) {
  i.value = -23;
  d.value = -3.25;
  h.value = 7;
  c.value = 'y';
  q.value = std::int64_t{1} << 33;
}

TEST_P(SharedConformance, value__raw_shared) {
  const RawValue<int> i(4343);
  const RawValue<double> d(3.625);
  const RawValue<short> h(-232);
  const RawValue<char> c('x');
  const RawValue<std::int64_t> q(std::int64_t{2} << 33);
  EXPECT_EQ(i.value, 4343);
  EXPECT_EQ(d.value, 3.625);
  auto child = start(write_all_types, i, d, h, c, q);
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(i.value, -23);
  EXPECT_EQ(d.value, -3.25);
  EXPECT_EQ(h.value, 7);
  EXPECT_EQ(c.value, 'y');
  EXPECT_EQ(q.value, std::int64_t{1} << 33);
}

template <class T>
concept HasLock = requires(const T& object) {
  object.get_lock();
  object.get_obj();
};

TEST(SharedConformanceOnce, value__lock_choices) {
  static_assert(HasLock<Value<int>> && HasLock<Array<int>>);
  static_assert(!HasLock<RawValue<int>> && !HasLock<RawArray<int>>);
  static_assert(!std::is_constructible_v<Value<int>, int, const char*>);
  const Value<int> own(5);
  own.get_lock().acquire();
  own.get_lock().release();
  EXPECT_EQ(own.get_obj().value, 5);
  const Lock lock;
  EXPECT_TRUE(Value<int>(5, lock).get_lock() == mp::detail::ValueLock(lock));
  const Array<int> array({0, 1, 2, 3}, lock);
  EXPECT_TRUE(array.get_lock() == mp::detail::ValueLock(lock));
  EXPECT_EQ(array.get_obj().to_vector(), (std::vector{0, 1, 2, 3}));
  const Value<int> bare(5, mp::no_lock);
  EXPECT_THROW((void)bare.get_lock(), mp::AttributeError);
}

template <class A>
void prefix_sums(A array) {
  for (std::size_t i = 1; i < array.size(); ++i) {
    const auto at = static_cast<std::ptrdiff_t>(i);
    array[at] += int{array[at - 1]};
  }
}

template <class A, class Start>
void expect_prefix_sums(const A& array, Start start_child) {
  std::vector<int> local{680, 626, 934, 821, 150, 233, 548, 982, 714, 831};
  ASSERT_EQ(array.size(), local.size());
  EXPECT_EQ(array[5], local[5]);
  EXPECT_EQ(array.slice(2, 7), std::vector<int>(local.begin() + 2, local.begin() + 7));
  const std::vector<int> four{1, 2, 3, 4};
  array.assign(four, 4);
  std::copy(four.begin(), four.end(), local.begin() + 4);
  EXPECT_EQ(array.to_vector(), local);
  std::partial_sum(local.begin(), local.end(), local.begin());
  auto child = start_child();
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(array.to_vector(), local);
}

TEST_P(SharedConformance, array__shared_prefix_sum) {
  const Array<int> array({680, 626, 934, 821, 150, 233, 548, 982, 714, 831});
  expect_prefix_sums(array, [&] { return start(prefix_sums<Array<int>>, array); });
}

TEST_P(SharedConformance, array__raw) {
  const RawArray<int> array({680, 626, 934, 821, 150, 233, 548, 982, 714, 831});
  expect_prefix_sums(array, [&] { return start(prefix_sums<RawArray<int>>, array); });
}

TEST(SharedConformanceOnce, array__from_size_zeroed) {
  for (int round = 0; round < 3; ++round) {
    const Array<int> array(10);
    EXPECT_EQ(array.size(), 10U);
    EXPECT_EQ(array.to_vector(), std::vector<int>(10));
    std::vector<int> numbers(10);
    std::iota(numbers.begin(), numbers.end(), 0);
    array.assign(numbers);
    EXPECT_EQ(array.to_vector(), numbers);
  }
}

// --- 16: heap, sharedctypes --------------------------------------------------

TEST(SharedConformanceOnce, heap__random_alloc_free) {
  mp::detail::heap_trim();
  const auto before = mp::detail::heap_use();
  std::mt19937 random(5000);
  std::vector<mp::detail::SharedBlock> blocks;
  for (int i = 0; i < 5000; ++i) {
    const auto size =
        static_cast<std::size_t>(std::lognormal_distribution<double>(0, 1)(random) * 1000);
    blocks.push_back(mp::detail::SharedBlock::allocate(size));
    std::memset(blocks.back().data(), 0xff, size);
    if (blocks.size() > 50) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      blocks.pop_back();
    }
  }
  EXPECT_EQ(mp::detail::heap_use().blocks - before.blocks, blocks.size());
  std::ranges::sort(blocks, {}, [](const auto& block) { return block.data(); });
  for (std::size_t i = 1; i < blocks.size(); ++i) {
    EXPECT_LE(blocks[i - 1].data() + blocks[i - 1].size(), blocks[i].data());
  }
  blocks.clear();
  mp::detail::heap_trim();
  EXPECT_EQ(mp::detail::heap_use().blocks, before.blocks);
  EXPECT_EQ(mp::detail::heap_use().arenas, before.arenas);
}

struct Pair {
  int x;
  double y;
};

template <class I, class D, class P, class A, class S>
void double_all(I number, D real, P pair, A array, S text) {
  number.value *= 2;
  real.value *= 2;
  pair->x *= 2;
  pair->y *= 2;
  for (double& element : array) element *= 2;
  text.set_value(text.value() + text.value());
}

template <class I, class D, class P, class A, class S>
void expect_doubled(I number, D real, P pair, A array, S text) {
  EXPECT_EQ(number.value, 14);
  EXPECT_NEAR(real.value, 2.0 / 3, 1e-9);
  const Pair both = pair.value;
  EXPECT_EQ(both.x, 6);
  EXPECT_EQ(both.y, 4);
  for (std::size_t i = 0; i < array.size(); ++i) {
    EXPECT_EQ(array[static_cast<std::ptrdiff_t>(i)], 2.0 * static_cast<double>(i));
  }
  EXPECT_EQ(text.value(), "hellohello");
}

const std::vector<double> ten{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

TEST_P(SharedConformance, sharedctypes__child_doubles_everything) {
  const RawValue<int> number(7);
  const RawValue<double> real(1.0 / 3);
  const RawValue<Pair> pair({3, 2});
  const RawArray<double> array(ten);
  const RawArray<char> text(20);
  text.set_value("hello");
  auto child = start(
      double_all<RawValue<int>, RawValue<double>, RawValue<Pair>, RawArray<double>, RawArray<char>>,
      number, real, pair, array, text);
  EXPECT_EQ(ended(child), 0);
  expect_doubled(number, real, pair, array, text);
}

TEST_P(SharedConformance, sharedctypes__locked_wrappers) {
  const Value<int> number(7);
  const Value<double> real(1.0 / 3);
  const Value<Pair> pair({3, 2});
  const Array<double> array(ten);
  const Array<char> text(20);
  text.set_value("hello");
  auto child = start(double_all<Value<int>, Value<double>, Value<Pair>, Array<double>, Array<char>>,
                     number, real, pair, array, text);
  EXPECT_EQ(ended(child), 0);
  expect_doubled(number, real, pair, array, text);
}

TEST(SharedConformanceOnce, sharedctypes__copy) {
  const RawValue<Pair> from({2, 5.0});
  const RawValue<Pair> to = mp::copy(from);
  from.value = Pair{0, 0};
  EXPECT_EQ(to->x, 2);
  EXPECT_EQ(to->y, 5.0);
}

}  // namespace
