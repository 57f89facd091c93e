#include <gtest/gtest.h>

#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <mp/pickle.hpp>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "mp/detail/callable.hpp"
#include "mp/partial.hpp"

namespace {

using namespace std::chrono_literals;

template <class T>
T round_trip(const T& value) {
  return mp::loads<T>(mp::dumps(value));
}

enum class Colour : unsigned char { red, green };

struct Point {
  int x = 0;
  double y = 0;
  friend bool operator==(const Point&, const Point&) = default;
};

struct Tree {
  std::string name;
  std::vector<Tree> children;
  friend bool operator==(const Tree&, const Tree&) = default;
};

class Account {
 public:
  Account() = default;
  explicit Account(std::string owner) : owner_(std::move(owner)) {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(owner_);
  }
  friend bool operator==(const Account&, const Account&) = default;

 private:
  std::string owner_;
};

// A list whose each part holds the next.
struct Chain {
  std::unique_ptr<Chain> next = {};
};

Tree deep_tree(int depth) {
  Tree tree{"leaf", {}};
  for (int i = 1; i < depth; ++i) {
    Tree above{"branch", {}};
    above.children.push_back(std::move(tree));
    tree = std::move(above);
  }
  return tree;
}

TEST(PickleTest, EveryKindComesBackEqual) {
  EXPECT_EQ(round_trip(42), 42);
  EXPECT_EQ(round_trip(true), true);
  EXPECT_EQ(round_trip(2.5), 2.5);
  EXPECT_EQ(round_trip(Colour::green), Colour::green);
  EXPECT_EQ(round_trip(std::string("\0with nul", 9)), std::string("\0with nul", 9));
  EXPECT_EQ(round_trip(std::vector<int>{1, 2, 3}), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(round_trip(std::vector<bool>{true, false}), (std::vector<bool>{true, false}));
  EXPECT_EQ(round_trip(std::vector<std::string>{"a", ""}), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(round_trip(std::deque<int>{1}), std::deque<int>{1});
  EXPECT_EQ(round_trip(std::list<int>{1, 2}), (std::list<int>{1, 2}));
  EXPECT_EQ(round_trip(std::set<std::string>{"x", "y"}), (std::set<std::string>{"x", "y"}));
  EXPECT_EQ(round_trip(std::map<std::string, int>{{"k", 1}}),
            (std::map<std::string, int>{{"k", 1}}));
  EXPECT_EQ(round_trip(std::unordered_map<int, int>{{1, 2}}),
            (std::unordered_map<int, int>{{1, 2}}));
  EXPECT_EQ(round_trip(std::array<int, 2>{1, 2}), (std::array<int, 2>{1, 2}));
  EXPECT_EQ(round_trip(std::pair(1, std::string("b"))), std::pair(1, std::string("b")));
  EXPECT_EQ(round_trip(std::tuple(1, 2.0, 'c')), std::tuple(1, 2.0, 'c'));
  EXPECT_EQ(round_trip(std::optional<int>()), std::nullopt);
  EXPECT_EQ(round_trip(std::optional(7)), 7);
  EXPECT_EQ((round_trip(std::variant<int, std::string>("s"))),
            (std::variant<int, std::string>("s")));
  EXPECT_EQ(round_trip(1500ms), 1500ms);
  EXPECT_EQ(round_trip(std::filesystem::path("/a/b")), "/a/b");
  EXPECT_EQ(*round_trip(std::make_unique<int>(3)), 3);
  EXPECT_EQ(round_trip(Point{1, 2.5}), (Point{1, 2.5}));
  EXPECT_EQ(round_trip(Tree{"root", {{"leaf", {}}}}), (Tree{"root", {{"leaf", {}}}}));
  EXPECT_EQ(round_trip(Account("me")), Account("me"));
}

int twice(int n) { return 2 * n; }

TEST(PickleTest, FunctionsAndCapturelessLambdasCross) {
  EXPECT_EQ(round_trip(&twice)(21), 42);
  const auto lambda = [](int n) { return n + 1; };
  EXPECT_EQ(round_trip(lambda)(1), 2);
  EXPECT_EQ(round_trip(mp::partial(&twice, 4))(), 8);
}

TEST(PickleTest, WhatCannotCrossIsKnownWhenCompiled) {
  static_assert(!mp::Picklable<int*>);
  static_assert(!mp::Picklable<std::string_view>);
  static_assert(!mp::Picklable<const char*>);
  static_assert(!mp::Picklable<std::vector<int*>>);
  static_assert(!mp::Picklable<std::span<int>>);
  static_assert(!mp::Picklable<std::shared_ptr<int>>);
  int captured = 1;
  const auto lambda = [captured] { return captured; };
  static_assert(!mp::Picklable<decltype(lambda)>);
  struct HoldsAPointer {
    int* pointer;
  };
  static_assert(!mp::Picklable<HoldsAPointer>);
  EXPECT_EQ(lambda(), 1);
}

TEST(PickleTest, BytesThatEndAtAnyPlaceAreRefused) {
  const Tree tree{"root", {{"leaf", {}}, {"another", {{"deep", {}}}}}};
  const auto bytes = mp::dumps(tree);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(mp::loads<Tree>(std::span(bytes).first(size)), mp::PicklingError) << size;
  }
  auto longer = bytes;
  longer.push_back({});
  EXPECT_THROW(mp::loads<Tree>(longer), mp::PicklingError);
}

TEST(PickleTest, ALengthBeyondWhatIsThereTakesNoMemory) {
  for (const std::uint64_t size : {std::uint64_t{1} << 60, ~std::uint64_t{0}, std::uint64_t{9}}) {
    const auto bytes = mp::dumps(size);
    EXPECT_THROW(mp::loads<std::string>(bytes), mp::PicklingError);
    EXPECT_THROW(mp::loads<std::vector<double>>(bytes), mp::PicklingError);
    EXPECT_THROW(mp::loads<std::vector<std::string>>(bytes), mp::PicklingError);
    EXPECT_THROW((mp::loads<std::map<int, int>>(bytes)), mp::PicklingError);
  }
}

TEST(PickleTest, FlippedBitsAreRefusedOrGiveAValueNeverMore) {
  const Tree tree{"root", {{"leaf", {}}, {"another", {}}}};
  const auto bytes = mp::dumps(tree);
  std::minstd_rand random(1);
  for (int round = 0; round < 2000; ++round) {
    auto bad = bytes;
    for (int flips = 0; flips < 3; ++flips)
      bad[random() % bad.size()] ^= std::byte(1U << (random() % 8));
    try {
      (void)mp::loads<Tree>(bad);
    } catch (const mp::PicklingError&) {
    }
  }
}

TEST(PickleTest, ValuesInOneAnotherAreTakenToADepth) {
  const Tree deep = deep_tree(500);
  EXPECT_EQ(round_trip(deep), deep);
  EXPECT_THROW(mp::dumps(deep_tree(501)), mp::PicklingError);
}

TEST(PickleTest, BytesThatClaimToBeDeeperAreRefused) {
  const std::vector<std::byte> parts(1 << 20, std::byte{1});
  EXPECT_THROW(mp::loads<Chain>(parts), mp::PicklingError);
  mp::Encoder out;
  for (int i = 0; i < 100'000; ++i) {
    out.text("");
    out.number<std::uint64_t>(1);
  }
  EXPECT_THROW(mp::loads<Tree>(out.view()), mp::PicklingError);
}

TEST(PickleTest, CodeFromAnotherProgramIsRefused) {
  const auto bytes = mp::dumps(&twice);
  mp::Decoder in(bytes);
  in.forbid_code();
  EXPECT_THROW(mp::decode<int (*)(int)>(in), mp::PicklingError);
  auto bad = bytes;
  bad.back() ^= std::byte{0x7f};  // The offset's highest byte: out of every image.
  EXPECT_THROW(mp::loads<int (*)(int)>(bad), mp::PicklingError);
}

class Other : public Account {
 public:
  using Account::Account;
};

namespace other {
class Account : public Other {};
}  // namespace other

template <class T>
class Pair {
 public:
  template <class Archive>
  void serialize(Archive& archive) {
    archive(first_, second_);
  }

 private:
  T first_, second_;
};

TEST(PickleTest, SignaturesTellShapesApart) {
  using mp::detail::signature;
  static_assert(signature<int> != signature<double>);
  static_assert(signature<int> != signature<std::string>);
  static_assert(signature<std::vector<int>> != signature<std::vector<long>>);
  static_assert(signature<std::pair<int, int>> != signature<std::tuple<int, int, int>>);
  static_assert(signature<Point> != signature<Tree>);
  static_assert(signature<int> != signature<unsigned>);
  static_assert(signature<Colour> == signature<unsigned char>);
  static_assert(signature<Account> != signature<Other>);
  static_assert(signature<Account> != signature<other::Account>);
  static_assert(signature<Pair<int>> != signature<Pair<double>>);
  static_assert(signature<Pair<std::string>> == signature<Pair<std::filesystem::path>>);
  static_assert(signature<std::vector<Account>> == signature<std::list<Account>>);
  static_assert(signature<std::vector<int>> == signature<std::list<int>>);
}

}  // namespace
