// imap and imap_unordered of a manager's pool: how far ahead they read, in how
// few messages results come, and what is left of them.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mp/mp.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pools.hpp"

namespace {

using namespace std::chrono_literals;
using mp::by_name;
using mp::test::comes_true;
using mp::test::endless;
using mp::test::input_that_joins;
using mp::test::numbers;
using mp::test::patience;
using mp::test::squares;
using Clock = std::chrono::steady_clock;

int square(int x) { return x * x; }
std::string twice(const std::string& text) { return text + text; }
void nothing(int) {}
int refuse_threes(int x) {
  if (x % 10 == 3) throw mp::ValueError("not " + std::to_string(x));
  return x;
}
int die_at_three(int x) {
  if (x == 3) ::kill(::getpid(), SIGKILL);
  return x;
}
int wait_for_ever(int) {
  for (;;) ::pause();
}
std::size_t length(const std::vector<std::byte>& bytes) { return bytes.size(); }

// Items of a gate and a number: all but those of number 0 are quick.
using Gated = std::pair<mp::EventProxy, int>;
int pass_gate(const Gated& item) {
  if (item.second == 0) item.first.wait();
  return item.second;
}
using Counted = std::pair<mp::ListProxy<int>, int>;
int count_and_wait(const Counted& item) {
  item.first.append(item.second);
  for (;;) ::pause();
}

// Decodes in a worker, but not in the test.
struct OneWay {
  static inline int refuser = 0;
  void pickle(mp::Encoder& out) const { mp::encode(out, 1); }
  static OneWay unpickle(mp::Decoder& in) {
    mp::decode<int>(in);
    if (refuser == ::getpid()) throw std::runtime_error("decoding refused");
    return {};
  }
};

int itself(int x) { return x % 1000; }

template <class Results>
auto read(Results results) {
  std::vector<typename Results::Value> all;
  for (auto& value : results) all.push_back(std::move(value));
  return all;
}

class ManagerImap : public testing::Test {
 protected:
  // How many requests the server has had; this is one as well.
  [[nodiscard]] int requests() const {
    const std::string text = manager.debug_info();
    return std::stoi(text.substr(text.find("requests=") + 9));
  }

  mp::SyncManager manager = mp::Manager();
};

TEST_F(ManagerImap, ResultsComeInTheOrderOfTheItems) {
  auto pool = manager.Pool(2);
  EXPECT_EQ(read(pool.imap(by_name<square>, numbers(5000))), squares(5000));
  EXPECT_EQ(read(pool.imap(by_name<square>, numbers(5000), 7)), squares(5000));
  EXPECT_EQ(read(pool.imap(by_name<square>, {3, 4})), (std::vector{9, 16}));
  EXPECT_EQ(read(pool.imap([](int x) { return x + 1; }, std::vector<int>())), std::vector<int>());
  EXPECT_EQ(read(pool.imap(by_name<twice>, std::vector<const char*>{"a", "b"})),
            (std::vector<std::string>{"aa", "bb"}));
  EXPECT_EQ(read(pool.imap(by_name<nothing>, {1, 2, 3})).size(), 3U);
  EXPECT_EQ(read(pool.imap({.chunksize = 2, .buffersize = 1}, by_name<square>, numbers(9))),
            squares(9));
}

TEST_F(ManagerImap, UnorderedResultsOvertakeALongTask) {
  auto pool = manager.Pool(2);
  auto gate = manager.Event();
  std::vector<Gated> items;
  for (int i = 0; i < 200; ++i) items.emplace_back(gate, i);
  auto results = pool.imap_unordered(by_name<pass_gate>, items);
  std::vector<int> all;
  for (int i = 1; i < 200; ++i) all.push_back(*results.next(patience));
  EXPECT_EQ(std::count(all.begin(), all.end(), 0), 0);
  gate.set();
  EXPECT_EQ(results.next(patience), 0);
  EXPECT_EQ(results.next(patience), std::nullopt);
}

TEST_F(ManagerImap, ATimeOutIsNotTheEnd) {
  auto pool = manager.Pool(2);
  auto gate = manager.Event();
  auto results = pool.imap(by_name<pass_gate>, std::vector<Gated>{{gate, 0}, {gate, 1}});
  const auto begin = Clock::now();
  EXPECT_THROW(results.next(50ms), mp::TimeoutError);
  EXPECT_GE(Clock::now() - begin, 50ms);
  EXPECT_THROW(results.next(0ms), mp::TimeoutError);
  gate.set();
  EXPECT_EQ(results.next(patience), 0);
  EXPECT_EQ(results.next(patience), 1);
  EXPECT_EQ(results.next(patience), std::nullopt);
}

TEST_F(ManagerImap, ItSaysWhatIsWrong) {
  auto pool = manager.Pool(1);
  EXPECT_THROW((void)pool.imap(by_name<square>, {1}, 0), mp::ValueError);
  EXPECT_THROW((void)pool.imap_unordered(by_name<square>, {1}, -1), mp::ValueError);
  EXPECT_THROW((void)pool.imap({.buffersize = 0}, by_name<square>, numbers(1)), mp::ValueError);
  auto results = pool.imap(by_name<square>, numbers(3));
  pool.close();
  EXPECT_THROW((void)pool.imap(by_name<square>, {1}), mp::ValueError);
  EXPECT_EQ(read(std::move(results)), squares(3));
  EXPECT_TRUE(pool.join(patience));
}

// --- failures --------------------------------------------------------------------

TEST_F(ManagerImap, AnErrorComesAtItsPlaceAndHidesNoOther) {
  auto pool = manager.Pool(2);
  auto results = pool.imap(by_name<refuse_threes>, numbers(100), 20);
  for (int i = 0; i < 100; ++i) {
    if (i % 10 != 3) {
      EXPECT_EQ(results.next(patience), i);
      continue;
    }
    try {
      results.next(patience);
      ADD_FAILURE() << i;
    } catch (const mp::ValueError& error) {
      EXPECT_EQ(error.what(), "not " + std::to_string(i));
      EXPECT_THROW(std::rethrow_if_nested(error), mp::RemoteTraceback);
    }
  }
  EXPECT_EQ(results.next(patience), std::nullopt);
}

TEST_F(ManagerImap, AResultThatCannotBeDecodedHidesNoOther) {
  auto pool = manager.Pool(1);
  OneWay::refuser = ::getpid();
  auto results = pool.imap([](int) { return OneWay(); }, {1, 2});
  EXPECT_THROW(results.next(patience), std::runtime_error);
  OneWay::refuser = 0;
  EXPECT_TRUE(results.next(patience).has_value());
  EXPECT_FALSE(results.next(patience).has_value());
}

TEST_F(ManagerImap, AWorkerThatDiesIsAnErrorAtItsPlaceWithinASecond) {
  auto pool = manager.Pool(2);
  auto results = pool.imap(by_name<die_at_three>, numbers(10), 2);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(results.next(patience), i);
  const auto begin = Clock::now();
  try {
    results.next(patience);
    FAIL();
  } catch (const mp::WorkerDied& died) {
    EXPECT_NE(died.death().function.find("die_at_three"), std::string::npos) << died.what();
  }
  EXPECT_LT(Clock::now() - begin, 1s);
  for (int i = 4; i < 10; ++i) EXPECT_EQ(results.next(patience), i);
}

TEST_F(ManagerImap, AKilledServerEndsTheWaitAtOnce) {
  auto pool = manager.Pool(1);
  auto results = pool.imap(by_name<wait_for_ever>, {1, 2});
  Clock::time_point told;
  std::thread reader([&] {
    EXPECT_THROW(results.next(patience), mp::EOFError);
    told = Clock::now();
  });
  // The reader's two requests are there: its hello, and the one that waits.
  const int first = requests();
  int own = 0;
  EXPECT_TRUE(comes_true([&] { return requests() - first - ++own >= 2; }));
  const auto killed = Clock::now();
  ::kill(*manager.pid(), SIGKILL);
  reader.join();
  EXPECT_LT(told - killed, 1s);
  EXPECT_THROW(results.next(patience), mp::EOFError);
}

TEST_F(ManagerImap, TerminateEndsItAndNoFurtherItemIsTaken) {
  int pulled = 0;
  auto pool = manager.Pool(1);
  auto items = endless(itself, pulled);
  auto results = pool.imap({.buffersize = 4}, by_name<wait_for_ever>, items);
  pool.terminate();
  for (int i = 0; i < 10; ++i) EXPECT_THROW(results.next(patience), mp::PoolTerminated);
  EXPECT_LE(pulled, 14);
}

TEST_F(ManagerImap, ATaskThatTakesTooLongIsATimeoutErrorAtItsPlace) {
  auto pool = manager.Pool(1);
  auto gate = manager.Event();
  auto results =
      pool.imap({.timeout = 100ms}, by_name<pass_gate>, std::vector<Gated>{{gate, 0}, {gate, 1}});
  EXPECT_THROW(results.next(patience), mp::TimeoutError);
  EXPECT_EQ(results.next(patience), 1);
}

// --- how far ahead, and how often ------------------------------------------------

TEST_F(ManagerImap, QuickAnswersAreReadFurtherAheadButNotWithoutBound) {
  int pulled = 0;
  int furthest = 0;
  auto pool = manager.Pool(2);
  auto items = endless(itself, pulled);
  auto results = pool.imap(by_name<square>, items);
  for (int taken = 0; taken < 20'000; ++taken) {
    ASSERT_EQ(*results.next(patience), square(itself(taken)));
    furthest = std::max(furthest, pulled - taken);
  }
  EXPECT_GT(furthest, 8);
  EXPECT_LE(furthest, 1025);
}

TEST_F(ManagerImap, FewLargeItemsAreReadAhead) {
  constexpr std::size_t large = 1U << 20U;
  int pulled = 0;
  auto pool = manager.Pool(2);
  auto items = endless([](int) { return std::vector<std::byte>(large); }, pulled);
  auto results = pool.imap(by_name<length>, items);
  for (int taken = 0; taken < 40; ++taken) {
    EXPECT_EQ(results.next(patience), large);
    EXPECT_LE(pulled, taken + 1 + 8);
  }
}

TEST_F(ManagerImap, ResultsThatAreReadyComeTogether) {
  constexpr int count = 200;
  auto pool = manager.Pool(1);
  auto gate = manager.Event();
  std::vector<Gated> items;
  for (int i = 0; i < count; ++i) items.emplace_back(gate, i);
  auto results = pool.imap({.buffersize = count}, by_name<pass_gate>, items);
  gate.set();
  // The pool does this one after those.
  EXPECT_EQ(pool.apply(by_name<square>, 3), 9);
  const int before = requests();
  EXPECT_EQ(read(std::move(results)), numbers(count));
  EXPECT_LE(requests() - before, 5);
}

// --- after close() ---------------------------------------------------------------

TEST_F(ManagerImap, AClosedPoolGoesOnWithTheItemsOfWhatIsUnderWay) {
  auto pool = manager.Pool(2);
  auto results = pool.imap(by_name<square>, numbers(1000));
  pool.close();
  EXPECT_EQ(read(std::move(results)), squares(1000));
  EXPECT_TRUE(pool.join(patience));
}

TEST_F(ManagerImap, JoinSendsTheRestOfTheInput) {
  auto pool = manager.Pool(2);
  auto results = pool.imap(by_name<square>, numbers(1000));
  auto few = pool.imap({.buffersize = 2}, by_name<square>, numbers(4));
  EXPECT_THROW(pool.join(patience), mp::ValueError);
  pool.close();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_EQ(read(std::move(results)), squares(1000));
  EXPECT_EQ(read(std::move(few)), squares(4));
}

TEST_F(ManagerImap, AnEndlessInputIsReadOnUntilTheDeadline) {
  int pulled = 0;
  auto pool = manager.Pool(1);
  auto items = endless([](int x) { return x; }, pulled);
  auto results = pool.imap({.buffersize = 4}, by_name<itself>, items);
  pool.close();
  EXPECT_FALSE(pool.join(20ms));
  EXPECT_EQ(results.next(patience), 0);
  pool.terminate();
  EXPECT_TRUE(pool.join(patience));
}

TEST_F(ManagerImap, AClosedPoolWaitsForNoResultsThatWereDroppedNorForAProcessThatHasEnded) {
  auto pool = manager.Pool(1);
  int pulled = 0;
  auto items = endless([](int x) { return x; }, pulled);
  auto dropped = std::make_unique<mp::RemoteResults<int>>(
      pool.imap({.buffersize = 4}, by_name<itself>, items));
  mp::Event under_way;
  mp::Process child({.daemon = true, .start_method = mp::StartMethod::fork}, [&] {
    auto its = pool.imap({.buffersize = 4}, by_name<itself>, items);
    under_way.set();
    for (;;) ::pause();
  });
  child.start();
  EXPECT_TRUE(under_way.wait(patience));
  pool.close();
  dropped.reset();
  EXPECT_FALSE(pool.join(20ms));
  child.kill();
  EXPECT_TRUE(pool.join(patience));
  child.join();
}

TEST_F(ManagerImap, AnInputCannotWaitForItsOwnPool) {
  auto pool = manager.Pool(1);
  int pulled = 0;
  auto input = input_that_joins(pool, pulled);
  auto results = pool.imap(by_name<itself>, input);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(results.next(patience), i);
  EXPECT_THROW(results.next(patience), mp::AssertionError);
  EXPECT_TRUE(pool.join(patience));
}

TEST_F(ManagerImap, AnInputMayDropItsOwnResults) {
  auto pool = manager.Pool(1);
  int pulled = 0;
  std::optional<mp::RemoteResults<int>> results;
  auto input = endless(
      [&](int x) {
        if (x == 20) results.reset();
        return x;
      },
      pulled);
  results.emplace(pool.imap({.buffersize = 4}, by_name<itself>, input));
  pool.close();
  EXPECT_TRUE(pool.join(patience));
  // What is read at a time is read to its end, and no more.
  EXPECT_LE(pulled, 4 + static_cast<int>(mp::detail::InputLock::read_on_items));
  EXPECT_EQ(manager.number_of_objects(), 1U);
}

// --- what is left ----------------------------------------------------------------

TEST_F(ManagerImap, ReadToItsEndItIsNothingToTheServer) {
  auto pool = manager.Pool(1);
  auto results = pool.imap(by_name<square>, numbers(3));
  EXPECT_EQ(manager.number_of_objects(), 2U);
  while (results.next(patience)) {
  }
  EXPECT_EQ(manager.number_of_objects(), 1U);
  EXPECT_EQ(results.next(), std::nullopt);
}

TEST_F(ManagerImap, DroppedHalfReadItIsReleasedAndThePoolGoesNoFurther) {
  auto pool = manager.Pool(1);
  auto seen = manager.list<int>();
  std::vector<Counted> items;
  for (int i = 0; i < 100; ++i) items.emplace_back(seen, i);
  const auto objects = manager.number_of_objects();
  {
    auto results = pool.imap({.buffersize = 50, .timeout = 300ms}, by_name<count_and_wait>, items);
    EXPECT_TRUE(comes_true([&] { return seen.size() == 1; }));
    EXPECT_EQ(manager.number_of_objects(), objects + 1);
  }
  EXPECT_EQ(manager.number_of_objects(), objects);
  // The one that runs comes to its time limit; then the pool is free.
  EXPECT_EQ(pool.apply_async(by_name<square>, 3).get(patience), 9);
  EXPECT_EQ(seen.getvalue(), std::vector{0});
}

TEST_F(ManagerImap, AForkedChildHasNoPartInIt) {
  auto pool = manager.Pool(1);
  auto results = std::make_unique<mp::RemoteResults<int>>(pool.imap(by_name<square>, numbers(3)));
  const auto objects = manager.number_of_objects();
  mp::Event ready;
  mp::Event open;
  mp::Process child({.daemon = true, .start_method = mp::StartMethod::fork}, [&] {
    try {
      results->next(patience);
      mp::exit(1);
    } catch (const mp::AssertionError&) {
    }
    ready.set();
    open.wait(patience);
    results.reset();
  });
  child.start();
  EXPECT_TRUE(ready.wait(patience));
  EXPECT_EQ(results->next(patience), 0);
  results.reset();
  // Whatever the child has inherited.
  EXPECT_EQ(manager.number_of_objects(), objects - 1);
  open.set();
  child.join(patience);
  EXPECT_EQ(child.exitcode(), 0);
}

}  // namespace
