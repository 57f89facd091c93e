// So many children that whatever one of them leaves over is seen.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <iterator>
#include <mp/detail/forkserver.hpp>
#include <mp/mp.hpp>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "channel.hpp"
#include "children.hpp"
#include "forked.hpp"

namespace {

constexpr int starts = 10'000;
constexpr std::size_t at_once = 4;  // A start goes on while others come to their end.

void nothing() {}

std::ptrdiff_t open_descriptors() {
  const auto all = std::filesystem::directory_iterator("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

class StartFaults : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(StartFaults);

TEST_P(StartFaults, TenThousandLeaveNothing) {
  mp::Process first(nothing);
  first.start();
  first.join();
  first.close();
  const auto before = open_descriptors();
  std::deque<mp::Process> running;
  const auto finish_one = [&] {
    running.front().join();
    EXPECT_EQ(running.front().exitcode(), 0);
    running.pop_front();
  };
  for (int i = 0; i < starts && !HasFailure(); ++i) {
    running.emplace_back(nothing).start();
    if (running.size() == at_once) finish_one();
  }
  while (!running.empty()) finish_one();
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_TRUE(mp::active_children().empty());
  if (GetParam() == mp::StartMethod::forkserver) return;  // The server is a child, too.
  siginfo_t child{};
  EXPECT_EQ(waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT), -1) << child.si_pid;
  EXPECT_EQ(errno, ECHILD);
}

bool has_no_child() {
  mp::detail::end_forkserver();
  siginfo_t child{};
  return waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
}

// With so many descriptors free. What happened, 0 if it is right.
int start_with_few_descriptors(mp::StartMethod method, bool daemon, std::size_t free) {
  std::vector<mp::detail::UniqueFd> taken;
  for (int fd = 0; (fd = dup(STDERR_FILENO)) >= 0;) taken.emplace_back(fd);
  for (; free > 0; --free) taken.pop_back();
  mp::Process p({.daemon = daemon, .start_method = method}, nothing);
  bool refused = false;
  try {
    p.start();
  } catch (const std::system_error& error) {
    refused = true;
    if (error.code().value() != EMFILE) return 1;
  } catch (...) {
    return 2;
  }
  taken.clear();
  if (refused) {
    if (!has_no_child()) return 3;
    p.start();  // Nothing of the first attempt is in the way.
  }
  p.join();
  if (p.exitcode() != 0) return 4;
  return has_no_child() ? 0 : 5;
}

TEST_P(StartFaults, ARefusedStartLeavesNoChildHoweverManyDescriptorsAreFree) {
  constexpr std::size_t enough = 16;
  mp::detail::end_forkserver();
  for (const bool daemon : {false, true}) {
    for (std::size_t free = 0; free <= enough; ++free) {
      mp::test::Forked poor([&] {
        const rlimit limit{64, 64};
        setrlimit(RLIMIT_NOFILE, &limit);
        return start_with_few_descriptors(GetParam(), daemon, free);
      });
      ASSERT_EQ(poor.wait(), 0) << free << (daemon ? " free, a daemon" : " free");
    }
  }
}

TEST_P(StartFaults, AStatusAskedForWhileAnotherThreadStartsIsNotLost) {
  const int rounds = GetParam() == mp::StartMethod::spawn ? 50 : 300;
  mp::test::Channel gate;
  std::deque<mp::Process> all;
  for (int i = 0; i < rounds; ++i) {
    all.emplace_back(
        mp::ProcessOptions{.daemon = true},
        [](const mp::test::Channel& held) { held.wait_for_end(); }, gate);
  }
  std::atomic<int> at{0};
  std::atomic<bool> wrong{false};
  std::jthread asks([&] {
    for (int i = 0; (i = at) < rounds;) {
      const auto code = all.at(static_cast<std::size_t>(i)).exitcode();
      if (code && *code != -SIGKILL) wrong = true;
      std::this_thread::yield();
    }
  });
  for (auto& p : all) {
    p.start();
    p.kill();
    p.join();
    EXPECT_EQ(p.exitcode(), -SIGKILL);
    ++at;
    if (wrong || HasFailure()) break;
  }
  at = rounds;
  EXPECT_FALSE(wrong);
}

}  // namespace
