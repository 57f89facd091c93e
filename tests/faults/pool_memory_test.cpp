// What is said of workers that the system's out-of-memory killer ends: in a
// memory group of the test's own, where the machine permits one.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <mp/mp.hpp>

#include "forked.hpp"

namespace {

using mp::test::Forked;
using mp::test::patience;

bool write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

// A group below this process's with 256 MiB, of whichever version there is.
class Group {
 public:
  Group() {
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
      const std::string path = line.substr(line.rfind(':') + 1);
      if (line.find(":memory:") != std::string::npos) {
        make("/sys/fs/cgroup/memory" + path, "memory.limit_in_bytes");
      } else if (line.starts_with("0::")) {
        make("/sys/fs/cgroup" + path, "memory.max");
      }
      if (refusal_.empty()) break;
    }
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group() {
    std::error_code gone;
    if (!folder_.empty()) std::filesystem::remove(folder_, gone);
  }
  // Why there is none; empty if there is.
  [[nodiscard]] const std::string& refusal() const { return refusal_; }
  [[nodiscard]] bool enter() const {
    return write_file(folder_ / "cgroup.procs", std::to_string(::getpid()));
  }

 private:
  void make(const std::string& parent, const std::string& limit) {
    const std::filesystem::path folder = parent + "/mp-test-" + std::to_string(::getpid());
    std::error_code refused;
    std::filesystem::create_directory(folder, refused);
    if (refused) {
      refusal_ = folder.string() + ": " + refused.message();
      return;
    }
    folder_ = folder;
    refusal_.clear();
    if (!write_file(folder / limit, std::to_string(256U << 20U))) {
      refusal_ = (folder / limit).string() + " cannot be written";
    }
  }

  std::string refusal_ = "no memory group is known";
  std::filesystem::path folder_;
};

// Looks into it at a place that no compiler knows: memory that nobody reads need not be had.
std::size_t take_too_much(int) {
  const std::vector<char> much(1U << 30U, 'x');
  const volatile std::size_t somewhere = 0;
  return much[somewhere] == 'x' ? much.size() : 0;
}
std::size_t be_killed(int) {
  ::raise(SIGKILL);
  return 0;
}

// Whether the error says, in its field and in its text, what is expected.
bool says(const mp::AsyncResult<std::size_t>& result, bool out_of_memory) {
  try {
    result.get(patience);
  } catch (const mp::WorkerDied& error) {
    const std::string text = error.what();
    return error.signal() == "SIGKILL" && error.death().out_of_memory == out_of_memory &&
           (text.find("; probably out of memory") != std::string::npos) == out_of_memory;
  }
  return false;
}

TEST(PoolMemory, OnlyWhatTheSystemKilledForItsMemoryIsSaidToBeOutOfMemory) {
  const Group group;
  if (!group.refusal().empty()) GTEST_SKIP() << group.refusal();
  Forked program([&] {
    if (!group.enter()) return 98;
    mp::Pool pool(2);
    for (int round = 0; round < 3; ++round) {
      if (!says(pool.apply_async(be_killed, 0), false)) return 1;
      const auto one = pool.apply_async(take_too_much, 0);
      const auto two = pool.apply_async(take_too_much, 0);
      if (!says(one, true)) return 2;
      if (!says(two, true)) return 3;
    }
    return says(pool.apply_async(be_killed, 0), false) ? 7 : 4;
  });
  const auto code = program.wait();
  if (code == 98) GTEST_SKIP() << "the group cannot be entered";
  EXPECT_EQ(code, 7);
}

}  // namespace
