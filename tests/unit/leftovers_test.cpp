#include "leftovers.hpp"

#include <fcntl.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "forked.hpp"

namespace mp::test {
namespace {

using Sentences = std::vector<std::string>;

int wait_for_ever() {
  while (true) ::pause();
}

TEST(LeftoversTest, NothingIsLeftWhereNothingWasDone) {
  EXPECT_EQ(leftovers(Belongings::now()), Sentences{});
}

TEST(LeftoversTest, AChildIsNamedAliveAndAsZombie) {
  const auto before = Belongings::now();
  Forked child(wait_for_ever);
  const auto sentence = "child " + std::to_string(child.pid()) + " is left over (";
  ASSERT_EQ(leftovers(before).size(), 1U);
  EXPECT_EQ(leftovers(before)[0].find(sentence), 0U);
  ::kill(child.pid(), SIGKILL);
  siginfo_t info;
  ::waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED | WNOWAIT);
  ASSERT_EQ(leftovers(before).size(), 1U);
  EXPECT_NE(leftovers(before)[0].find("state Z"), std::string::npos);
  child.wait();
  EXPECT_EQ(leftovers(before), Sentences{});
}

TEST(LeftoversTest, DescriptorsLeftOpenClosedAndExchangedAreNamed) {
  std::array<int, 2> pipe = {};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const auto before = Belongings::now();
  const int other = ::open("/dev/null", O_RDONLY);
  ASSERT_EQ(leftovers(before).size(), 1U);
  EXPECT_NE(leftovers(before)[0].find("is left open (/dev/null)"), std::string::npos);
  ::dup2(other, pipe[0]);
  EXPECT_EQ(leftovers(before).size(), 2U);
  ::close(other);
  ::close(pipe[0]);
  ASSERT_EQ(leftovers(before).size(), 1U);
  EXPECT_NE(leftovers(before)[0].find("was closed (pipe"), std::string::npos);
  ::close(pipe[1]);
}

TEST(LeftoversTest, ANameInSharedMemoryIsOursUnlessAStrangerHasItOpen) {
  const auto before = Belongings::now();
  const auto name = "leftovers-test-" + std::to_string(::getpid());
  const auto path = std::filesystem::path("/dev/shm") / name;
  std::ofstream(path) << "x";
  EXPECT_EQ(leftovers(before), Sentences{"/dev/shm/" + name + " is left over"});

  // A grandchild whose parent has ended is nobody's here. It holds the file until the gate ends,
  // under another name, as glibc's semaphores are held.
  std::array<int, 2> gate = {};
  ASSERT_EQ(::pipe(gate.data()), 0);
  const auto with_gate = Belongings::now();
  Forked parent([&] {
    const auto former = path.string() + "-former";
    if (::link(path.c_str(), former.c_str()) != 0) return 1;
    const int held = ::open(former.c_str(), O_RDONLY);
    ::unlink(former.c_str());
    if (::fork() == 0) {
      ::close(gate[1]);
      char byte = 0;
      ::_exit(::read(gate[0], &byte, 1) == 0 && held >= 0 ? 0 : 1);
    }
    return 0;
  });
  EXPECT_EQ(parent.wait(), 0);
  auto after = with_gate;
  after.shared_memory.erase(name);
  EXPECT_EQ(leftovers(after), Sentences{});
  ::close(gate[0]);
  ::close(gate[1]);
  std::filesystem::remove(path);
  EXPECT_EQ(leftovers(before), Sentences{});
}

TEST(LeftoversListenerTest, FailsTheTestAndEndsItsChildren) {
  LeftoversListener listener;
  const auto& test = *testing::UnitTest::GetInstance()->current_test_info();
  listener.OnTestStart(test);
  const pid_t child = ::fork();
  if (child == 0) wait_for_ever();
  EXPECT_NONFATAL_FAILURE(listener.OnTestEnd(test), "is left over");
  EXPECT_EQ(::kill(child, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

}  // namespace
}  // namespace mp::test
