// A manager's server in another program than its clients.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <mp/mp.hpp>
#include <string>
#include <vector>

#include "forked.hpp"

extern char** environ;

namespace {

using mp::test::patience;

class OtherProgram {
 public:
  OtherProgram() {
    std::array<int, 2> ends{};
    mp::detail::check(::pipe2(ends.data(), O_CLOEXEC), "pipe2");
    const mp::detail::UniqueFd read(ends[0]);
    mp::detail::UniqueFd write(ends[1]);
    posix_spawn_file_actions_t actions{};
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, write.get(), STDOUT_FILENO);
    std::string path = OTHER_PROGRAM;
    std::array<char*, 2> argv{path.data(), nullptr};
    const int error = ::posix_spawn(&pid_, path.c_str(), &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) mp::detail::throw_errno("posix_spawn", error);
    write.reset();
    std::string text;
    for (char c = 0; ::read(read.get(), &c, 1) == 1 && c != '\n';) text += c;
    address_ = mp::parse_address(text);
  }
  OtherProgram(const OtherProgram&) = delete;
  OtherProgram& operator=(const OtherProgram&) = delete;
  ~OtherProgram() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] const mp::Address& address() const { return address_; }

 private:
  pid_t pid_ = 0;
  mp::Address address_;
};

TEST(ManagerOfAnotherProgram, NamesAreAllThatTheTwoNeedToHaveInCommon) {
  const OtherProgram program;
  mp::SyncManager manager({.address = program.address(), .authkey = "shared"});
  manager.connect();
  auto account = manager.create("Account");
  EXPECT_EQ(account.callmethod<long>("deposit", 40L), 40);
  EXPECT_EQ(account.callmethod<long>("deposit", 2L), 42);
  auto queue = manager.create<mp::QueueProxy<std::string>>("get_queue");
  queue.put("hello");
  EXPECT_EQ(queue.get(patience), "hello");
  // Elements are bytes to the server, so it keeps types that it does not know.
  struct Unknown {
    int x = 0;
    std::string text = {};
  };
  auto dict = manager.dict<std::string, Unknown>();
  dict["a"] = Unknown{1, "one"};
  EXPECT_EQ(dict.at("a").text, "one");
  auto counts = manager.dict<std::string, int>({{"n", 1}});
  counts["n"] += 41;
  EXPECT_EQ(counts["n"], 42);
}

TEST(ManagerOfAnotherProgram, AFunctionThatItDoesNotHaveIsAnError) {
  const OtherProgram program;
  mp::SyncManager manager({.address = program.address(), .authkey = "shared"});
  manager.connect();
  auto list = manager.list({1, 2});
  EXPECT_THROW(list.apply([](std::vector<int>& all) { all.clear(); }), mp::AttributeError);
  EXPECT_EQ(list.size(), 2U);
  auto pool = manager.Pool(1);
  EXPECT_THROW((void)pool.apply([] { return 1; }), mp::AttributeError);
}

}  // namespace
