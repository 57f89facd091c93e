// Start methods, the number of processors, the key: what holds for all processes.

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>

#include <mp/context.hpp>
#include <mp/detail/forkserver.hpp>
#include <mp/process.hpp>

#include "channel.hpp"
#include "forked.hpp"

namespace {

namespace fs = std::filesystem;
using mp::test::Channel;

TEST(StartMethodTest, IsSetOnceUnlessForced) {
  mp::test::Forked fresh([] {
    mp::set_start_method("spawn", true);
    try {
      mp::set_start_method(mp::StartMethod::fork);
      return 1;
    } catch (const mp::RuntimeError&) {
    }
    try {
      mp::set_start_method("thread", true);
      return 2;
    } catch (const mp::ValueError& error) {
      if (error.what() != std::string("cannot find context for 'thread'")) return 3;
    }
    return mp::get_start_method() == mp::StartMethod::spawn ? 0 : 4;
  });
  EXPECT_EQ(fresh.wait(), 0);
}

TEST(StartMethodTest, IsFixedByTheFirstQuestionAndSetFreeByForce) {
  mp::test::Forked fresh([] {
    mp::set_start_method(std::nullopt, true);
    if (mp::get_fixed_start_method()) return 1;
    if (mp::get_start_method() != mp::StartMethod::fork) return 2;
    if (mp::get_fixed_start_method() != mp::StartMethod::fork) return 3;
    try {
      mp::set_start_method(std::nullopt);
      return 4;
    } catch (const mp::RuntimeError&) {
    }
    mp::set_start_method(std::nullopt, true);
    mp::set_start_method(std::nullopt);
    return mp::get_fixed_start_method() == mp::StartMethod::fork ? 0 : 5;
  });
  EXPECT_EQ(fresh.wait(), 0);
}

TEST(StartMethodTest, IsPrintedByName) {
  std::ostringstream out;
  out << mp::StartMethod::forkserver;
  EXPECT_EQ(out.str(), "forkserver");
  EXPECT_EQ(fmt::format("{:>6}", mp::StartMethod::fork), "  fork");
}

TEST(CpuCountTest, NoMoreAreUsableThanThere) {
  EXPECT_GE(mp::process_cpu_count(), 1);
  EXPECT_LE(mp::process_cpu_count(), mp::cpu_count());
}

TEST(CpuCountTest, AffinityCounts) {
  mp::test::Forked pinned([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    return mp::process_cpu_count();
  });
  EXPECT_EQ(pinned.wait(), 1);
}

TEST(CpuCountTest, TheQuotaOfTheGroupCounts) {
  // The groups' files are where this process sees them, and it may see others there.
  mp::test::Forked limited([] {
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) ||
        mount("none", "/sys/fs/cgroup", "tmpfs", 0, nullptr) != 0) {
      return 100;
    }
    std::ofstream("/sys/fs/cgroup/cpu.max") << "max 100000\n";
    if (mp::process_cpu_count() < 1) return 101;
    std::ofstream("/sys/fs/cgroup/cpu.max") << "50000 100000\n";
    return mp::process_cpu_count();
  });
  const auto count = limited.wait();
  if (count == 100) GTEST_SKIP() << "may not mount anything";
  EXPECT_EQ(count, 1);
}

// A group of processes that may use half a processor: version 1 or 2 of the
// kernel's interface, whichever this machine has.
class HalfAProcessor {
 public:
  HalfAProcessor() {
    const bool v1 = fs::exists("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    folder_ = fs::path(v1 ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup") /
              fmt::format("libmp-test-{}", ::getpid());
    std::error_code refused;
    if (!fs::create_directory(folder_, refused)) return;
    if (v1) {
      there_ = write("cpu.cfs_period_us", "100000") && write("cpu.cfs_quota_us", "50000");
    } else {
      there_ = write("cpu.max", "50000 100000");
    }
  }
  ~HalfAProcessor() {
    std::error_code refused;
    fs::remove(folder_, refused);
  }
  HalfAProcessor(const HalfAProcessor&) = delete;
  HalfAProcessor& operator=(const HalfAProcessor&) = delete;

  explicit operator bool() const { return there_; }
  bool enter() const { return write("cgroup.procs", std::to_string(::getpid())); }

 private:
  bool write(const char* file, const std::string& text) const {
    return fs::exists(folder_ / file) && (std::ofstream(folder_ / file) << text << std::flush);
  }

  fs::path folder_;
  bool there_ = false;
};

TEST(CpuCountTest, TheQuotaOfARealGroupCounts) {
  HalfAProcessor group;
  if (!group) GTEST_SKIP() << "no group of processes can be made here";
  mp::test::Forked bounded([&] { return group.enter() ? mp::process_cpu_count() : -1; });
  EXPECT_EQ(bounded.wait(), 1);
}

TEST(AuthenticationStringTest, CannotBePickled) {
  static_assert(!mp::Picklable<mp::AuthenticationString>);
  EXPECT_EQ(mp::current_process().authkey().bytes().size(), 32U);
}

int preloaded = 0;  // NOLINT: set in the server, read in its children.
void preload() { ++preloaded; }
void preload_nothing() { throw mp::ValueError("nothing to preload"); }

TEST(PreloadTest, AFunctionThatThrowsKeepsNoOtherFromBeingCalled) {
  mp::detail::end_forkserver();
  mp::set_forkserver_preload({&preload, &preload_nothing, &preload});
  Channel report;
  mp::Process child(
      {.start_method = mp::StartMethod::forkserver},
      [](const Channel& out) { out.say(std::to_string(preloaded)); }, report);
  child.start();
  EXPECT_EQ(report.hear(), "2");
  child.join();
  mp::set_forkserver_preload({});
  mp::detail::end_forkserver();
}

}  // namespace
