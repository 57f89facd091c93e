// The largest message that is promised. Needs a machine with memory to spare.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <mp/connection.hpp>
#include <mp/queues.hpp>

#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::Forked;

constexpr std::size_t large = std::size_t{4} << 30;
constexpr std::size_t step = 1 << 20;
constexpr auto plenty = 200s;  // Of time, also for a machine that does much else.

// MiB that the system could give now, or that the group of processes may have at all.
std::size_t available_memory() {
  std::size_t least = 0;
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::size_t kibibytes = 0;
  std::string unit;
  while (file >> name >> kibibytes && std::getline(file, unit)) {
    if (name == "MemAvailable:") least = kibibytes >> 10;
  }
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::size_t bytes = 0;
    if (std::ifstream(path) >> bytes) least = std::min(least, bytes >> 20);
  }
  return least;
}

// A number here and there that says where it is.
template <class Bytes>
void mark(Bytes& bytes) {
  for (std::size_t at = 0; at < large; at += step) {
    bytes[at] = static_cast<typename Bytes::value_type>(at / step % 251 + 1);
  }
  bytes[large - 1] = static_cast<typename Bytes::value_type>(255);
}

template <class Bytes>
std::size_t wrong_marks(const Bytes& bytes) {
  std::size_t wrong = bytes[large - 1] == static_cast<typename Bytes::value_type>(255) ? 0 : 1;
  for (std::size_t at = 0; at < large; at += step) {
    wrong += bytes[at] == static_cast<typename Bytes::value_type>(at / step % 251 + 1) ? 0 : 1;
  }
  return wrong;
}

class LargeMessage : public testing::Test {
 protected:
  void SetUp() override {
    if (available_memory() < 12 << 10) GTEST_SKIP() << "less than 12 GiB of memory are available";
  }
};

TEST_F(LargeMessage, OfFourGibibytesPassesThroughAConnection) {
  auto [a, b] = mp::Pipe(false);
  Forked sender([&, &b = b] {
    // Pages that are only read are all the same one.
    void* memory = ::mmap(nullptr, large, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return 1;
    std::span<std::byte, large> bytes(static_cast<std::byte*>(memory), large);
    mark(bytes);
    b.send_bytes(bytes);
    b.send_bytes("");
    return 0;
  });
  b.close();
  {
    const std::vector<std::byte> bytes = a.recv_bytes();
    ASSERT_EQ(bytes.size(), large);
    EXPECT_EQ(wrong_marks(bytes), 0U);
  }
  EXPECT_TRUE(a.recv_bytes().empty());
  EXPECT_EQ(sender.wait(), 0);
}

TEST_F(LargeMessage, OfFourGibibytesPassesThroughAQueue) {
  mp::Queue<std::vector<char>> queue;
  Forked producer([&] {
    std::vector<char> bytes(large);
    mark(bytes);
    queue.put(bytes);
    queue.put({});
    return 0;
  });
  {
    const std::vector<char> bytes = queue.get(plenty);
    ASSERT_EQ(bytes.size(), large);
    EXPECT_EQ(wrong_marks(bytes), 0U);
  }
  EXPECT_TRUE(queue.get().empty());
  EXPECT_EQ(producer.wait(), 0);
}

}  // namespace
