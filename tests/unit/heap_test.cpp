#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <forked.hpp>
#include <mp/detail/heap.hpp>
#include <random>
#include <span>
#include <thread>
#include <vector>

namespace mp::detail {
namespace {

using test::Forked;

class HeapTest : public testing::Test {
 protected:
  void TearDown() override { heap_trim(); }
};

bool all_zero(const SharedBlock& block) {
  const std::span<const std::byte> bytes(block.data(), block.size());
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

// What travels, with descriptors of its own as the receiver would have them.
struct Parcel {
  explicit Parcel(const Encoder& out) : bytes(out.view().begin(), out.view().end()) {
    for (const auto& fd : out.descriptors()) fds.push_back(fd.duplicate());
  }
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;
};

TEST_F(HeapTest, BlocksAreZeroedAndAligned) {
  for (const std::size_t size : {1U, 63U, 64U, 65U, 4096U, 100'000U, 5'000'000U}) {
    const auto block = SharedBlock::allocate(size);
    EXPECT_EQ(block.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % 64, 0U);
    EXPECT_TRUE(all_zero(block));
  }
}

TEST_F(HeapTest, MemoryThatComesBackIsZeroedAgain) {
  for (int round = 0; round < 3; ++round) {
    auto block = SharedBlock::allocate(1000);
    EXPECT_TRUE(all_zero(block));
    std::memset(block.data(), 0xff, block.size());
  }
}

TEST_F(HeapTest, TenThousandBlocksCostFewDescriptors) {
  const auto before = heap_use();
  std::vector<SharedBlock> blocks;
  for (int i = 0; i < 10'000; ++i) blocks.push_back(SharedBlock::allocate(200));
  EXPECT_LT(heap_use().arenas - before.arenas, 20U);
  EXPECT_EQ(heap_use().blocks - before.blocks, 10'000U);
}

TEST_F(HeapTest, GivesBackAllOfItWhenTheLastHandleIsGone) {
  const auto before = heap_use();
  {
    const auto block = SharedBlock::allocate(8 << 20);
    const auto copy = block;  // NOLINT: a second handle is what is tested.
    EXPECT_EQ(heap_use().blocks, before.blocks + 1);
  }
  heap_trim();
  EXPECT_EQ(heap_use().blocks, before.blocks);
  EXPECT_EQ(heap_use().arenas, before.arenas);
}

TEST_F(HeapTest, BlocksNeverOverlap) {
  std::mt19937 random(20);
  struct Filled {
    SharedBlock block;
    std::byte value;
  };
  std::vector<Filled> live;
  for (int i = 0; i < 5000; ++i) {
    if (live.size() < 50) {
      const std::size_t size = 1 + random() % (random() % 10 == 0 ? 300'000U : 1000U);
      Filled filled{SharedBlock::allocate(size), static_cast<std::byte>(i)};
      ASSERT_TRUE(all_zero(filled.block));
      std::memset(filled.block.data(), i & 0xff, size);
      live.push_back(std::move(filled));
      continue;
    }
    std::swap(live[random() % live.size()], live.back());
    const auto& last = live.back();
    const std::span<const std::byte> bytes(last.block.data(), last.block.size());
    ASSERT_TRUE(std::ranges::all_of(bytes, [&](std::byte b) { return b == last.value; }));
    live.pop_back();
  }
  live.clear();
  EXPECT_EQ(heap_use().blocks, 0U);
}

TEST_F(HeapTest, IsSafeUnderThreads) {
  const auto work = [] {
    std::vector<SharedBlock> blocks;
    for (int i = 0; i < 5000; ++i) {
      blocks.push_back(SharedBlock::allocate(64U << (i % 4)));
      blocks.back().data()[0] = std::byte{1};
      if (blocks.size() > 20) blocks.erase(blocks.begin());
    }
  };
  std::thread first(work);
  std::thread second(work);
  first.join();
  second.join();
  EXPECT_EQ(heap_use().blocks, 0U);
}

TEST_F(HeapTest, ForkedChildrenShareTheMemory) {
  const auto block = SharedBlock::allocate(64);
  const auto ticket = heap_child_born();
  Forked child([&] {
    *block.as<int>() = 7;
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  heap_child_gone(ticket);
  EXPECT_EQ(*block.as<int>(), 7);
}

TEST_F(HeapTest, ABlockIsHeldBackUntilTheChildThatInheritedItHasEnded) {
  auto block = SharedBlock::allocate(64);
  const std::byte* const where = block.data();
  const auto ticket = heap_child_born();
  Forked child([] {
    for (;;) ::pause();
    return 0;
  });
  block = {};
  {
    const auto next = SharedBlock::allocate(64);
    EXPECT_NE(next.data(), where);
  }
  child.kill();
  heap_child_gone(ticket);
  EXPECT_EQ(heap_use().blocks, 0U);
}

TEST_F(HeapTest, ABlockBornAfterTheChildIsNotHeldBack) {
  const auto ticket = heap_child_born();
  Forked child([] {
    for (;;) ::pause();
    return 0;
  });
  { const auto block = SharedBlock::allocate(64); }
  EXPECT_EQ(heap_use().blocks, 0U);
  child.kill();
  heap_child_gone(ticket);
}

TEST_F(HeapTest, AChildMakesArenasOfItsOwnAndFreesNothingOfItsParents) {
  auto block = SharedBlock::allocate(64);
  const auto ticket = heap_child_born();
  Forked child([&] {
    const std::byte* const inherited = block.data();
    block = {};
    const auto own = SharedBlock::allocate(64);
    return own.data() != inherited && heap_use().blocks == 1 ? 0 : 1;
  });
  EXPECT_EQ(child.wait(), 0);
  heap_child_gone(ticket);
  EXPECT_EQ(heap_use().blocks, 1U);
}

TEST_F(HeapTest, AChildMayAllocateWhileAnotherThreadOfItsParentDid) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) (void)SharedBlock::allocate(64);
  });
  for (int i = 0; i < 50; ++i) {
    const auto ticket = heap_child_born();
    Forked child([] { return SharedBlock::allocate(64).data() == nullptr; });
    EXPECT_EQ(child.wait(), 0);
    heap_child_gone(ticket);
  }
  stop = true;
  busy.join();
}

TEST_F(HeapTest, APickledBlockIsTheSameMemory) {
  Encoder out;
  out.keep_until_receiver_ends();
  const auto block = SharedBlock::allocate(64);
  block.pickle(out);
  Parcel parcel(out);
  const auto ticket = heap_child_born();
  Forked child([&] {
    Decoder in(parcel.bytes, parcel.fds);
    const auto same = SharedBlock::unpickle(in);
    if (same.data() == block.data()) return 1;  // Mapped anew, as in a fresh program.
    *same.as<int>() = 5;
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  heap_child_gone(ticket);
  EXPECT_EQ(*block.as<int>(), 5);
  out.clear();
}

TEST_F(HeapTest, AHundredBlocksOfOneArenaSendOneDescriptor) {
  Encoder out;
  out.keep_until_receiver_ends();
  std::vector<SharedBlock> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(SharedBlock::allocate(64));
  for (const auto& block : blocks) block.pickle(out);
  EXPECT_EQ(out.descriptors().size(), 1U);
  Parcel parcel(out);
  Decoder in(parcel.bytes, parcel.fds);
  for (const auto& block : blocks) EXPECT_EQ(SharedBlock::unpickle(in), block);
}

TEST_F(HeapTest, TheEncodersListKeepsABlockAlive) {
  Encoder out;
  out.keep_until_receiver_ends();
  SharedBlock::allocate(64).pickle(out);
  auto kept = out.take_kept();
  EXPECT_EQ(heap_use().blocks, 1U);
  kept.clear();
  EXPECT_EQ(heap_use().blocks, 0U);
}

TEST_F(HeapTest, BytesThatNameNoBlockAreRefused) {
  const auto mapping = SharedMapping::create("no-arena", 4096);
  const auto block = SharedBlock::allocate(64);
  const auto refused = [](int fd, std::uint64_t offset, std::uint64_t size) {
    Encoder out;
    out.descriptor(fd);
    out.number(offset);
    out.number(size);
    Parcel parcel(out);
    Decoder in(parcel.bytes, parcel.fds);
    EXPECT_THROW(SharedBlock::unpickle(in), PicklingError) << offset << ' ' << size;
  };
  refused(mapping.fd(), 64, 64);
  Encoder good;
  good.keep_until_receiver_ends();
  block.pickle(good);
  const int arena = good.descriptors()[0].get();
  refused(arena, 0, 64);
  refused(arena, 65, 64);
  refused(arena, 64, std::uint64_t{1} << 60U);
  refused(arena, std::uint64_t{1} << 60U, 64);
  refused(arena, ~std::uint64_t{63}, 64);
}

}  // namespace
}  // namespace mp::detail
