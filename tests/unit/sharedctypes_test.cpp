#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <children.hpp>
#include <chrono>
#include <filesystem>
#include <mp/sharedctypes.hpp>
#include <mutex>
#include <numeric>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace mp {
namespace {

using namespace std::chrono_literals;
using test::crash;
using test::ended;
using test::patience;

struct Point {
  double x;
  double y;
  int label;
};

class SharedTest : public test::EachMethod {};
MP_TEST_EACH_METHOD(SharedTest);

void change_all(Value<int> number, RawValue<double> raw, Array<int> array, Value<Point> point) {
  number.value += 1;
  raw.value *= 2;
  for (std::size_t i = 0; i < array.size(); ++i) array[static_cast<int>(i)] = array[i] * 10;
  point->x = 5;
}

TEST_P(SharedTest, WhatAChildWritesItsParentReads) {
  const Value<int> number(7);
  const RawValue<double> raw(1.5);
  const Array<int> array({1, 2, 3});
  const Value<Point> point({1, 2, 3});
  auto child = start(change_all, number, raw, array, point);
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(number.value, 8);
  EXPECT_EQ(raw.value, 3.0);
  EXPECT_EQ(array.to_vector(), (std::vector{10, 20, 30}));
  EXPECT_EQ(point.value.get().x, 5);
  EXPECT_EQ(point.value.get().label, 3);
}

void add_many(Value<int> counter, RawValue<int> raw, int times) {
  for (int i = 0; i < times; ++i) {
    counter.fetch_add(1);
    raw.fetch_add(1);
    const std::scoped_lock guard(counter.get_lock());
    counter.value += 1;
  }
}

TEST_P(SharedTest, UpdatesInOneCallAndUnderTheLockLoseNothing) {
  constexpr int times = 2000;
  const Value<int> counter(0);
  const RawValue<int> raw(0);
  auto first = start(add_many, counter, raw, times);
  auto second = start(add_many, counter, raw, times);
  add_many(counter, raw, times);
  EXPECT_EQ(ended(first), 0);
  EXPECT_EQ(ended(second), 0);
  EXPECT_EQ(counter.value, 6 * times);
  EXPECT_EQ(raw.value, 3 * times);
}

void hold_value(Value<int> value, Event held) {
  value.acquire();
  held.set();
  for (;;) ::pause();
}

TEST_P(SharedTest, AnUpdateAfterADeathIsToldOnceAndHoldsNothing) {
  const Value<int> value(1);
  const Event held;
  auto child = start(hold_value, value, held);
  ASSERT_TRUE(held.wait(patience));
  crash(child);
  EXPECT_THROW(value.fetch_add(1), OwnerDied);
  EXPECT_EQ(value.value, 1);
  EXPECT_FALSE(value.get_lock().locked());
  EXPECT_EQ(value.fetch_add(1), 1);
}

TEST(ValueTest, TenThousandValuesAndLocksCostFewDescriptors) {
  const auto open_descriptors = [] {
    const auto all = std::filesystem::directory_iterator("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const auto before = open_descriptors();
  std::vector<Value<int>> values;
  std::vector<Lock> locks;
  for (int i = 0; i < 10'000; ++i) {
    values.emplace_back(i);
    locks.emplace_back();
  }
  EXPECT_LT(open_descriptors() - before, 100);
  EXPECT_EQ(values[9'999].value, 9'999);
}

TEST(ValueTest, StandsForItsT) {
  const Value<int> value(6);
  value.value = 4;
  value.value += 3;
  value.value -= 1;
  value.value *= 5;
  value.value /= 2;
  value.value %= 10;
  EXPECT_EQ(value.value, 5);
  value.value |= 8;
  value.value &= 12;
  value.value ^= 1;
  EXPECT_EQ(value.value, 13);
  EXPECT_EQ(value.value++, 13);
  EXPECT_EQ(value.value--, 14);
  ++value.value;
  --value.value;
  const int plain = value.value;
  EXPECT_EQ(plain, 13);
  EXPECT_EQ(fmt::format("{:03}", value.value), "013");
  std::ostringstream text;
  text << value.value;
  EXPECT_EQ(text.str(), "13");
}

TEST(ValueTest, AssigningValuesCopiesTheNumberAndAssigningHandlesTheHandle) {
  const Value<int> a(1);
  const Value<int> b(2);
  Value<int> c(3);
  c.value = b.value;
  EXPECT_EQ(c.value, 2);
  c = a;
  c.value = 9;
  EXPECT_EQ(a.value, 9);
  EXPECT_EQ(b.value, 2);
}

TEST(ValueTest, TheLockIsItsOwnOneGivenOrNone) {
  const Lock lock;
  const RLock recursive;
  EXPECT_EQ(Value<int>(0, lock).get_lock(), detail::ValueLock(lock));
  EXPECT_EQ(Value<int>(0, recursive).get_lock(), detail::ValueLock(recursive));
  EXPECT_NE(Value<int>(0).get_lock(), Value<int>(0).get_lock());
  const Value<int> bare(3, no_lock);
  EXPECT_THROW((void)bare.get_lock(), AttributeError);
  EXPECT_THROW(bare.acquire(), AttributeError);
  bare.value += 1;
  EXPECT_EQ(bare.fetch_add(1), 4);
  EXPECT_EQ(bare.value, 5);
}

TEST(ValueTest, IsItselfALockable) {
  const Value<int> value(0);
  {
    const std::scoped_lock guard(value);
    EXPECT_TRUE(value.get_lock().locked());
    value.fetch_add(1);
  }
  EXPECT_FALSE(value.get_lock().locked());
}

TEST(ValueTest, AStructIsReadAndWrittenWholeUnderItsLock) {
  struct Pair {
    std::array<std::int64_t, 8> all;
  };
  const Value<Pair> value;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::int64_t i = 0; !stop; ++i) {
      Pair pair;
      pair.all.fill(i);
      value.value = pair;
    }
  });
  for (int i = 0; i < 2000; ++i) {
    const Pair seen = value.value;
    EXPECT_TRUE(std::ranges::all_of(seen.all, [&](auto x) { return x == seen.all[0]; }));
  }
  stop = true;
  writer.join();
}

TEST(ValueTest, GetObjIsTheSameMemory) {
  const Value<int> value(1);
  value.get_obj().value = 2;
  EXPECT_EQ(value.value, 2);
  const RawValue<int> raw(5);
  const Value<int> wrapped = synchronized(raw);
  wrapped.fetch_add(1);
  EXPECT_EQ(raw.value, 6);
}

TEST(ValueTest, ACopyIsIndependent) {
  const RawValue<Point> from({1, 2, 3});
  const RawValue<Point> to = mp::copy(from);
  to->x = 9;
  EXPECT_EQ(from->x, 1);
  EXPECT_EQ(to->label, 3);
  const Array<int> array({1, 2});
  const RawArray<int> copied = mp::copy(array);
  copied[0] = 7;
  EXPECT_EQ(array[0], 1);
}

TEST(ValueTest, TextIsPythons) {
  EXPECT_EQ(Value<int>(7).repr(), "<Synchronized wrapper for c_int(7)>");
  EXPECT_EQ(fmt::format("{}", RawValue<double>(1.5)), "c_double(1.5)");
  EXPECT_EQ(Array<int>(10).repr(), "<SynchronizedArray wrapper for c_int_Array_10>");
  EXPECT_EQ(Array<char>(4).repr(), "<SynchronizedString wrapper for c_char_Array_4>");
}

TEST(ArrayTest, IsZeroedAlsoWhenItsMemoryWasUsedBefore) {
  for (int round = 0; round < 3; ++round) {
    const Array<int> array(10);
    EXPECT_EQ(array.to_vector(), std::vector<int>(10));
    array.assign({9, 9, 9, 9, 9, 9, 9, 9, 9, 9});
  }
}

TEST(ArrayTest, TakesARangeAndALock) {
  const Lock lock;
  const std::vector<int> numbers{1, 2, 3};
  const Array<int> array(numbers, lock);
  EXPECT_EQ(array.to_vector(), numbers);
  EXPECT_EQ(array.get_lock(), detail::ValueLock(lock));
  const RawArray<int> raw(numbers);
  EXPECT_EQ(Array<int>(raw, no_lock).data(), raw.data());
}

template <class T>
void expect_lockable(const T& shared) {
  EXPECT_TRUE(shared.acquire(false));
  EXPECT_FALSE(shared.acquire(false));
  EXPECT_FALSE(shared.acquire(true, 1ms));
  EXPECT_FALSE(shared.try_lock_for(1ms));
  EXPECT_FALSE(shared.get_lock().acquire(false));
  shared.release();
  EXPECT_TRUE(shared.try_lock());
  shared.unlock();
}

TEST(ArrayTest, IsALockableAsAValueIs) {
  expect_lockable(Array<int>(3, Lock()));
  expect_lockable(Value<int>(3, Lock()));
  EXPECT_THROW(Array<int>(3, no_lock).acquire(), AttributeError);
}

TEST(ArrayTest, ChecksItsBounds) {
  const Array<int> array({1, 2, 3});
  EXPECT_EQ(array[-1], 3);
  EXPECT_EQ(array.at(0), 1);
  EXPECT_THROW((void)array[3], IndexError);
  EXPECT_THROW((void)array[-4], IndexError);
  EXPECT_THROW((void)array.at(3), IndexError);
  EXPECT_THROW(Array<int>(-1), ValueError);
  EXPECT_TRUE(Array<int>(0).empty());
}

TEST(ArrayTest, CutsAndWritesSlicesAsPythonDoes) {
  const Array<int> array({0, 1, 2, 3, 4});
  EXPECT_EQ(array.slice(1, 3), (std::vector{1, 2}));
  EXPECT_EQ(array.slice(-2, 99), (std::vector{3, 4}));
  EXPECT_TRUE(array.slice(4, 2).empty());
  array.assign({7, 8}, 3);
  EXPECT_EQ(array.to_vector(), (std::vector{0, 1, 2, 7, 8}));
  EXPECT_THROW(array.assign({1, 2}, 4), ValueError);
  EXPECT_THROW(array.assign({1}, 6), ValueError);
  EXPECT_EQ(array.to_vector(), (std::vector{0, 1, 2, 7, 8}));
}

TEST(ArrayTest, IsARange) {
  const std::vector<double> from{1, 2, 3};
  const Array<double> array(from);
  for (double& x : array) x *= 2;
  EXPECT_EQ(std::accumulate(array.begin(), array.end(), 0.0), 12);
  static_assert(std::ranges::contiguous_range<Array<int>>);
  EXPECT_EQ(array.update(1, [](double x) { return x + 1; }), 4);
  EXPECT_EQ(array[1], 5);
}

TEST(ArrayTest, OfCharsIsATextAndItsBytes) {
  const Array<char> text(6);
  text.set_value("hello");
  EXPECT_EQ(text.value(), "hello");
  EXPECT_EQ(text.raw(), std::string("hello\0", 6));
  text.set_value("hi");
  EXPECT_EQ(text.value(), "hi");
  EXPECT_EQ(text.raw(), std::string("hi\0lo\0", 6));
  EXPECT_THROW(text.set_value("too long"), ValueError);
  EXPECT_EQ(text.value(), "hi");
}

TEST(ValueTest, ALargeValueIsUpdatedUnderALockThatIsTakenOnce) {
  const auto move = [](Point p) {
    p.x += 1;
    return p;
  };
  const Value<Point> plain(Point{1, 2, 3}, Lock());
  EXPECT_EQ(plain.update(move).x, 1);
  const Value<Point> recursive(Point{1, 2, 3});
  recursive.update(move);
  const Value<Point> none(Point{1, 2, 3}, no_lock);
  none.update(move);
  for (const auto& value : {plain, recursive, none}) EXPECT_EQ(value.value.get().x, 2);
  EXPECT_FALSE(plain.get_lock().locked());
}

TEST(ValueTest, EmptyIsForEverAndFalseOnlyLooks) {
  const Value<int> value(0, Lock());
  EXPECT_TRUE(value.acquire({}));
  EXPECT_FALSE(value.acquire(false));
  std::jthread holder([&] { value.release(); });
  EXPECT_TRUE(value.get_lock().acquire({}));
  value.release();
}

TEST(ArrayTest, AnArrayOfARawArrayIsACopyAndWithALockTheSame) {
  const RawArray<int> raw{1, 2, 3};
  const Array<int> copied(raw);
  const Array<int> same(raw, Lock());
  copied[0] = 7;
  same[1] = 8;
  EXPECT_EQ(raw.to_vector(), (std::vector{1, 8, 3}));
}

TEST(ArrayTest, WhatWasMovedFromIsTheSameStill) {
  RawArray<int> raw{1, 2, 3};
  const RawArray<int> moved = std::move(raw);
  raw[0] = 9;  // NOLINT: that is the test.
  EXPECT_EQ(moved.at(0), 9);
  EXPECT_THROW(RawArray<int>(PTRDIFF_MAX), ValueError);
}

TEST(ArrayTest, AnArrayLargerThanItsMemoryIsRefused) {
  Encoder out;
  out.keep_until_receiver_ends();
  const auto block = detail::SharedBlock::allocate(64);
  detail::pickle_shared(out, 'a', block);
  out.number<std::uint64_t>(std::uint64_t{1} << 62U);
  std::vector<detail::UniqueFd> fds;
  for (const auto& fd : out.descriptors()) fds.push_back(fd.duplicate());
  Decoder in(out.view(), fds);
  EXPECT_THROW(RawArray<int>::unpickle(in), PicklingError);
}

}  // namespace
}  // namespace mp
