// Ctrl-C in a program with a pool, and in one that has no pool at work.

#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <mp/mp.hpp>

#include "children.hpp"
#include "forked.hpp"
#include "pools.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::goes_away;
using mp::test::patience;

class PoolInterrupt : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(PoolInterrupt);

int same(int x) { return x; }
int wait_a_while(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return milliseconds;
}

struct Terminal {
  int fd = -1;
  pid_t program = 0;
  std::string output = {};

  // Until `text` is there, or the program is gone.
  bool read_until(const std::string& text) {
    const mp::detail::Deadline deadline(patience);
    while (output.find(text) == std::string::npos) {
      if (!mp::detail::wait_fd(fd, POLLIN, deadline)) return false;
      char letters[256];
      const ssize_t size = ::read(fd, letters, sizeof letters);
      if (size <= 0) return false;
      output.append(letters, static_cast<std::size_t>(size));
    }
    return true;
  }
  // What the program wrote: without the terminal's own "^C", and empty lines.
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> all;
    std::istringstream text(output);
    for (std::string line; std::getline(text, line);) {
      std::erase(line, '\r');
      if (!line.empty() && line != "^C") all.push_back(line);
    }
    return all;
  }
  void press_ctrl_c() const { EXPECT_EQ(::write(fd, "\x03", 1), 1); }
  int wait() {
    read_until("no such text");
    const auto pidfd = mp::detail::open_pidfd(program);
    const bool ended = mp::detail::wait_fd(pidfd.get(), POLLIN, mp::detail::Deadline(patience));
    EXPECT_TRUE(ended);
    if (!ended) ::kill(program, SIGKILL);
    int status = 0;
    ::waitpid(program, &status, 0);
    ::close(fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
};

// A program with a pool, in the foreground of a terminal of its own.
template <class Program>
Terminal in_terminal(Program program) {
  Terminal terminal;
  terminal.program = ::forkpty(&terminal.fd, nullptr, nullptr, nullptr);
  if (terminal.program == 0) {
    program();
    ::_exit(99);
  }
  return terminal;
}

std::set<pid_t> workers_of(pid_t program) {
  const auto all = mp::test::descendants(mp::test::process_table(), program);
  return {all.begin(), all.end()};
}

void run_tasks(mp::StartMethod method, int milliseconds) {
  mp::Pool pool({.processes = 2, .start_method = method});
  pool.map(same, {1, 2});
  mp::println("ready");
  pool.map(wait_a_while, std::vector<int>(1000, milliseconds), 1);
  mp::println("not interrupted");
}

TEST_P(PoolInterrupt, OneCtrlCEndsTheProgramInOrder) {
  const auto method = GetParam();
  for (const int task : {1, 600'000}) {
    Terminal terminal = in_terminal([&] { run_tasks(method, task); });
    ASSERT_TRUE(terminal.read_until("ready"));
    const auto workers = workers_of(terminal.program);
    EXPECT_GE(workers.size(), 2U);
    terminal.output.clear();
    terminal.press_ctrl_c();
    EXPECT_EQ(terminal.wait(), 130);
    EXPECT_NE(terminal.output.find("interrupted: ending 2 workers"), std::string::npos)
        << terminal.output;
    EXPECT_EQ(terminal.lines().size(), 1U) << terminal.output;
    for (const pid_t pid : workers) EXPECT_TRUE(goes_away(pid));
  }
}

TEST_P(PoolInterrupt, ASecondCtrlCDoesNotWait) {
  const auto method = GetParam();
  Terminal terminal = in_terminal([&] {
    mp::Pool pool({.processes = 2, .start_method = method, .grace = 600s});
    auto slow = pool.apply_async(wait_a_while, 600'000);
    while (slow.progress().running == 0) std::this_thread::yield();
    mp::println("ready");
    slow.get();
  });
  ASSERT_TRUE(terminal.read_until("ready"));
  const auto workers = workers_of(terminal.program);
  terminal.press_ctrl_c();
  ASSERT_TRUE(terminal.read_until("interrupted"));
  terminal.press_ctrl_c();
  EXPECT_EQ(terminal.wait(), 130);
  for (const pid_t pid : workers) EXPECT_TRUE(goes_away(pid));
}

// What a program ends with if Ctrl-C comes once it is ready.
int end_of(const std::function<void()>& program) {
  Terminal terminal = in_terminal(program);
  EXPECT_TRUE(terminal.read_until("ready"));
  terminal.press_ctrl_c();
  return terminal.wait();
}

[[noreturn]] void be_ready() {
  mp::println("ready");
  for (;;) ::pause();
}

TEST_P(PoolInterrupt, CtrlCEndsAProgramWhosePoolIsIdle) {
  EXPECT_EQ(end_of([] {
              mp::Pool pool(2);
              pool.map(same, {1, 2});
              be_ready();
            }),
            130);
}

TEST_P(PoolInterrupt, CtrlCEndsAProgramWhosePoolHasEnded) {
  EXPECT_EQ(end_of([] {
              mp::Pool pool(2);
              pool.map(same, {1, 2});
              pool.close();
              pool.join();
              be_ready();
            }),
            -SIGINT);
}

TEST_P(PoolInterrupt, CtrlCEndsAProgramThatKeepsAResult) {
  EXPECT_EQ(end_of([] {
              std::optional<mp::AsyncResult<int>> kept;
              {
                mp::Pool pool(2);
                kept = pool.apply_async(same, 1);
                kept->wait();
              }
              be_ready();
            }),
            -SIGINT);
}

TEST_P(PoolInterrupt, CtrlCEndsAProgramWhoseExecutorHasNotBegunOrHasEnded) {
  for (const bool used : {false, true}) {
    EXPECT_EQ(end_of([&] {
                mp::futures::ProcessPoolExecutor executor(2);
                if (used) {
                  executor.submit(same, 1).result();
                  executor.shutdown();
                }
                be_ready();
              }),
              -SIGINT);
  }
}

TEST_P(PoolInterrupt, CtrlCEndsAProgramWhoseThreadsWaitForItsPool) {
  EXPECT_EQ(end_of([] {
              mp::Pool pool(1);
              mp::ThreadPool threads(1);
              auto result = pool.apply_async(wait_a_while, 600'000);
              while (result.progress().running == 0) std::this_thread::yield();
              threads.apply_async([&] {
                mp::println("ready");
                return result.get();
              });
              for (;;) ::pause();
            }),
            130);
}

}  // namespace
