#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <calls.hpp>
#include <children.hpp>
#include <cstring>
#include <filesystem>
#include <mp/shared_memory.hpp>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

namespace mp {
namespace {

using namespace std::chrono_literals;
using test::crash;
using test::ended;
using test::error_of;
using test::patience;

class SharedMemoryTest : public test::EachMethod {};
MP_TEST_EACH_METHOD(SharedMemoryTest);

bool exists(const std::string& name) { return std::filesystem::exists("/dev/shm/" + name); }

// Until the name is gone: another process takes it away.
bool vanishes(const std::string& name) {
  const detail::Deadline deadline(patience);
  while (exists(name)) {
    if (deadline.passed()) return false;
    std::this_thread::yield();
  }
  return true;
}

// Takes the name away at the end of a test, whatever came before.
class Owned {
 public:
  explicit Owned(std::ptrdiff_t size) : memory({.create = true, .size = size}) {}
  ~Owned() {
    if (exists(memory.name())) memory.unlink();
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  const SharedMemory memory;
};

void write_into(SharedMemory passed, std::string name) {
  passed.buf()[0] = std::byte{1};
  const SharedMemory attached({.name = name});
  attached.buf()[1] = std::byte{2};
}

TEST_P(SharedMemoryTest, AChildWritesThroughTheObjectAndThroughTheName) {
  const Owned owned(64);
  auto child = start(write_into, owned.memory, owned.memory.name());
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(owned.memory.buf()[0], std::byte{1});
  EXPECT_EQ(owned.memory.buf()[1], std::byte{2});
}

void create_and_hang(SharedMemory names) {
  const SharedMemory mine({.create = true, .size = 10});
  mine.name().copy(reinterpret_cast<char*>(names.buf().data()) + 1, 50);
  reinterpret_cast<std::atomic<char>*>(names.buf().data())->store(1);
  for (;;) ::pause();
}

TEST_P(SharedMemoryTest, WhatAKilledProcessMadeDisappears) {
  const Owned names(64);
  auto child = start(create_and_hang, names.memory);
  const detail::Deadline deadline(patience);
  auto* ready = reinterpret_cast<std::atomic<char>*>(names.memory.buf().data());
  while (ready->load() == 0 && !deadline.passed()) std::this_thread::yield();
  const std::string name(reinterpret_cast<char*>(names.memory.buf().data()) + 1);
  EXPECT_TRUE(exists(name));
  crash(child);
  EXPECT_TRUE(vanishes(name));
}

void create_and_end(SharedMemory names, bool track) {
  const SharedMemory mine({.create = true, .size = 10, .track = track});
  mine.name().copy(reinterpret_cast<char*>(names.buf().data()), 50);
}

TEST_P(SharedMemoryTest, WhatAProcessLeavesOverDisappearsUnlessItIsNotTracked) {
  for (const bool track : {true, false}) {
    const Owned names(64);
    auto child = start(create_and_end, names.memory, track);
    EXPECT_EQ(ended(child), 0);
    const std::string name(reinterpret_cast<char*>(names.memory.buf().data()));
    if (track) {
      EXPECT_TRUE(vanishes(name));
    } else {
      EXPECT_TRUE(exists(name));
      SharedMemory({.name = name}).unlink();
    }
  }
}

void attach_and_end(std::string name) { const SharedMemory attached({.name = name}); }

TEST_P(SharedMemoryTest, WhoOnlyAttachesUnlinksNothing) {
  const Owned owned(64);
  auto child = start(attach_and_end, owned.memory.name());
  EXPECT_EQ(ended(child), 0);
  EXPECT_TRUE(exists(owned.memory.name()));
}

TEST(SharedMemoryTest, TheGuardianDoesNotTouchALaterSegmentOfTheSameName) {
  const Owned names(64);
  const std::string name = fmt::format("mp_test_{}", ::getpid());
  Process child({.daemon = true, .start_method = StartMethod::fork}, [&] {
    const SharedMemory mine({.name = name, .create = true, .size = 10});
    // Not by unlink(): behind the guardian's back, as a stranger would.
    ::shm_unlink(("/" + name).c_str());
    const SharedMemory later({.name = name, .create = true, .size = 20, .track = false});
  });
  child.start();
  EXPECT_EQ(ended(child), 0);
  // The guardian of a second child begins and ends after the first one's.
  Process second({.daemon = true, .start_method = StartMethod::fork}, create_and_end, names.memory,
                 true);
  second.start();
  EXPECT_EQ(ended(second), 0);
  EXPECT_TRUE(vanishes(reinterpret_cast<char*>(names.memory.buf().data())));
  EXPECT_TRUE(exists(name));
  SharedMemory({.name = name}).unlink();
}

TEST(SharedMemoryTest, WhatOthersUnlinkMakesRoomForMore) {
  // In a child, whose account of what is not its own any more goes with it.
  test::Forked child([] {
    for (int i = 0; i < 5000; ++i) {
      const SharedMemory memory({.create = true, .size = 1});
      // As another process would.
      if (::shm_unlink(('/' + memory.name()).c_str()) != 0) return 1;
    }
    const Owned last(1);
    return exists(last.memory.name()) ? 0 : 2;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(SharedMemoryTest, BeyondTheLimitOnFilesItIsAnErrorAndNoSignal) {
  test::Forked child([] {
    const rlimit limit{4096, 4096};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    return error_of([] { SharedMemory({.create = true, .size = 4097}); }) == EFBIG ? 0 : 2;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(SharedMemoryTest, CloseIsForAllCopiesAndMayBeRepeated) {
  const Owned owned(64);
  const SharedMemory copy = owned.memory;
  copy.close();
  copy.close();
  EXPECT_TRUE(owned.memory.buf().empty());
  EXPECT_EQ(owned.memory.size(), 64U);
  EXPECT_THROW(ShareableList(owned.memory, {std::int64_t{1}}), ValueError);
  SharedMemory other = owned.memory;
  const SharedMemory moved = std::move(other);
  EXPECT_EQ(other.name(), owned.memory.name());  // NOLINT: that is the test.
}

TEST(SharedMemoryTest, OpenOrCreateTakesWhatIsThere) {
  const Owned owned(64);
  const SharedMemory same({.name = owned.memory.name(), .size = 10, .open_or_create = true});
  EXPECT_EQ(same.size(), 64U);
  const std::string name = owned.memory.name() + "b";
  const SharedMemory fresh({.name = name, .size = 10, .open_or_create = true});
  EXPECT_EQ(fresh.size(), 10U);
  fresh.unlink();
}

TEST(SharedMemoryTest, ANameWithASlashInsideIsRefused) {
  EXPECT_EQ(error_of([] { SharedMemory({.name = "a/b", .create = true, .size = 1}); }), EINVAL);
}

TEST(SharedMemoryTest, ListsWhoseBytesAreWrongAreRefused) {
  const ShareableList list({1, "text"});
  const SharedMemory raw = list.shm();
  const Owned nothing(64);
  EXPECT_THROW(ShareableList::attach(nothing.memory.name()), ValueError);
  std::memset(raw.buf().data() + 16, 0xff, 16);  // The first slot's place and length.
  EXPECT_THROW((void)list.get(0), ValueError);
  EXPECT_EQ(list[1], ShareableItem("text"));
  std::memset(raw.buf().data() + 8, 0xff, 8);  // The count.
  EXPECT_THROW(ShareableList::attach(raw.name()), ValueError);
  raw.unlink();
}

TEST(SharedMemoryTest, AListIsARange) {
  const ShareableList list({std::int64_t{1}, "two", 3.0});
  std::vector<ShareableItem> seen;
  for (const auto& item : list) seen.push_back(item);
  EXPECT_EQ(seen, list.to_vector());
  EXPECT_EQ(std::ranges::distance(list), 3);
  list.shm().unlink();
}

TEST(SharedMemoryTest, NulsAtTheEndOfAnItemAreKept) {
  const ShareableList list({std::string("a\0\0", 3), std::vector<std::byte>(4)});
  EXPECT_EQ(list[0], ShareableItem(std::string("a\0\0", 3)));
  EXPECT_EQ(list[1], ShareableItem(std::vector<std::byte>(4)));
  EXPECT_EQ(list.repr(), fmt::format("ShareableList(['a\\x00\\x00', b'\\x00\\x00\\x00\\x00'], "
                                     "name='{}')",
                                     list.shm().name()));
  list.shm().unlink();
}

}  // namespace
}  // namespace mp
