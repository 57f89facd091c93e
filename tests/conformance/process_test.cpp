// What CPython's own suite checks of processes, exit and main, one test an id.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mp/detail/forkserver.hpp>
#include <mp/mp.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "channel.hpp"
#include "children.hpp"
#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::Channel;
using mp::test::Forked;

void nothing() {}
void hold(const Channel& gate) { gate.wait_for_end(); }

int open_descriptors() {
  const auto all = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<int>(std::distance(begin(all), end(all))) - 1;
}

class ProcessConformance : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ProcessConformance);

TEST(ProcessConformanceOnce, process__current_attributes) {
  const auto me = mp::current_process();
  EXPECT_TRUE(me.is_alive());
  EXPECT_FALSE(me.daemon());
  EXPECT_FALSE(me.authkey().bytes().empty());
  EXPECT_EQ(me.pid(), getpid());
  EXPECT_EQ(me.exitcode(), std::nullopt);
}

TEST(ProcessConformanceOnce, process__set_executable_path_kinds) {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  for (const std::filesystem::path& path :
       {self, std::filesystem::path(self.string()), std::filesystem::path(self.c_str()),
        std::filesystem::relative(self)}) {
    mp::set_executable(path);
    mp::Process p(mp::ProcessOptions{.start_method = mp::StartMethod::spawn});
    p.start();
    p.join();
    EXPECT_EQ(p.exitcode(), 0) << path;
  }
  mp::set_executable("");
}

TEST(ProcessConformanceOnce, process__daemon_argument) {
  EXPECT_EQ(mp::Process(nothing).daemon(), mp::current_process().daemon());
  EXPECT_TRUE(mp::Process({.daemon = true}, nothing).daemon());
  EXPECT_FALSE(mp::Process({.daemon = false}, nothing).daemon());
}

TEST_P(ProcessConformance, process__parent_attributes) {
  EXPECT_FALSE(mp::parent_process().has_value());
  Channel report;
  mp::Process p(
      [](const Channel& out) {
        out.say(fmt::format("{} {}", *mp::parent_process()->pid(), mp::parent_process()->name()));
      },
      report);
  p.start();
  EXPECT_EQ(report.hear(), fmt::format("{} {}", getpid(), mp::current_process().name()));
  p.join();
}

// The same for the same key, and no way back to it.
std::uint32_t checksum(const mp::AuthenticationString& key) {
  const auto bytes = key.bytes();
  return std::accumulate(
      bytes.begin(), bytes.end(), std::uint32_t{0},
      [](std::uint32_t all, std::byte b) { return all * 31 + std::to_integer<std::uint32_t>(b); });
}

TEST_P(ProcessConformance, process__lifecycle) {
  Channel report;
  Channel gate;
  mp::Process p(
      {.name = "SomeProcess", .daemon = true},
      [](const Channel& out, const Channel& in, int number, const std::string& text) {
        const auto me = mp::current_process();
        out.say(fmt::format("{} {} {} {} {}", number, text, me.name(), checksum(me.authkey()),
                            *me.pid()));
        in.wait_for_end();
      },
      report, gate, 1, "two");
  EXPECT_FALSE(p.is_alive());
  EXPECT_TRUE(mp::active_children().empty());
  EXPECT_EQ(p.exitcode(), std::nullopt);
  EXPECT_EQ(p.authkey(), mp::current_process().authkey());
  p.start();
  EXPECT_TRUE(p.is_alive());
  EXPECT_EQ(mp::active_children().size(), 1U);
  EXPECT_EQ(p.exitcode(), std::nullopt);
  EXPECT_EQ(report.hear(), fmt::format("1 two SomeProcess {} {}", checksum(p.authkey()), *p.pid()));
  gate.stop_writing();
  p.join();
  EXPECT_EQ(p.exitcode(), 0);
  EXPECT_FALSE(p.is_alive());
  EXPECT_TRUE(mp::active_children().empty());
}

TEST_P(ProcessConformance, process__main_thread_id_differs) {
  Channel report;
  mp::Process p([](const Channel& out) { out.say(std::to_string(gettid())); }, report);
  p.start();
  const auto tid = report.hear();
  p.join();
  EXPECT_EQ(tid, std::to_string(*p.pid()));
  EXPECT_NE(tid, std::to_string(gettid()));
}

TEST_P(ProcessConformance, process__join_zero_and_negative_return_at_once) {
  Channel gate;
  mp::Process p({.daemon = true}, hold, gate);
  p.start();
  p.join(0s);
  EXPECT_TRUE(p.is_alive());
  p.join(-1s);
  EXPECT_TRUE(p.is_alive());
  p.terminate();
  p.join();
  EXPECT_EQ(p.exitcode(), -SIGTERM);
}

TEST_P(ProcessConformance, process__kill_sets_negative_exitcode) {
  Channel gate;
  mp::Process p({.daemon = true}, hold, gate);
  p.start();
  p.kill();
  p.join();
  EXPECT_EQ(p.exitcode(), -SIGKILL);
  EXPECT_FALSE(p.is_alive());
}

// A C++ child has no handler of libmp's: the signal ends it.
TEST_P(ProcessConformance, process__interrupt_default_handler) {
  Channel gate;
  mp::Process p({.daemon = true}, hold, gate);
  p.start();
  p.interrupt();
  p.join();
  EXPECT_EQ(p.exitcode(), -SIGINT);
}

TEST_P(ProcessConformance, process__interrupt_no_handler) {
  Channel report;
  Channel gate;
  mp::Process p(
      {.daemon = true},
      [](const Channel& out, const Channel& in) {
        signal(SIGINT, SIG_DFL);
        out.say("ready");
        in.wait_for_end();
      },
      report, gate);
  p.start();
  EXPECT_EQ(report.hear(), "ready");
  p.interrupt();
  p.join();
  EXPECT_EQ(p.exitcode(), -SIGINT);
}

TEST(ProcessConformanceOnce, process__cpu_count_positive) { EXPECT_GE(mp::cpu_count(), 1); }

void recurse(const Channel& out, const std::string& path) {
  out.say(path);
  if (path.size() >= 4) return;
  for (const char* step : {"0", "1"}) {
    mp::Process p(recurse, out, path + "," + step);
    p.start();
    p.join();
  }
}

TEST_P(ProcessConformance, process__recursion_order) {
  Channel report;
  mp::Process root(recurse, report, "");
  root.start();
  root.join();
  for (const char* path : {"", ",0", ",0,0", ",0,1", ",1", ",1,0", ",1,1"}) {
    EXPECT_EQ(report.hear(), path);
  }
}

TEST_P(ProcessConformance, process__many) {
  const int count = GetParam() == mp::StartMethod::spawn ? 5 : 100;
  std::vector<mp::Process> all;
  for (int i = 0; i < count; ++i) all.emplace_back(nothing).start();
  for (auto& p : all) {
    p.join();
    EXPECT_EQ(p.exitcode(), 0);
  }
  Channel gate;
  std::vector<mp::Process> sleeping;
  for (int i = 0; i < count; ++i) {
    sleeping.emplace_back(mp::ProcessOptions{.daemon = true}, hold, gate).start();
  }
  for (auto& p : sleeping) p.terminate();
  for (auto& p : sleeping) {
    p.join();
    EXPECT_EQ(p.exitcode(), -SIGTERM);
  }
}

struct CountsCopies {
  std::shared_ptr<int> held = std::make_shared<int>(5);
  void operator()(const Channel& out) const { out.say(std::to_string(*held)); }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(*held);
  }
};

TEST_P(ProcessConformance, process__target_released_after_start) {
  Channel report;
  CountsCopies target;
  std::weak_ptr<int> watched = target.held;
  mp::Process p(std::move(target), report);
  EXPECT_FALSE(watched.expired());
  p.start();
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(report.hear(), "5");
  p.join();
}

TEST_P(ProcessConformance, process__child_fd_count_constant) {
  Channel report;
  Channel gate;
  std::vector<mp::Process> all;
  std::map<std::string, int> counts;
  for (int i = 0; i < 5; ++i) {
    all.emplace_back(
           mp::ProcessOptions{.daemon = true},
           [](const Channel& out, const Channel& in) {
             out.say(std::to_string(open_descriptors()));
             in.wait_for_end();
           },
           report, gate)
        .start();
    ++counts[report.hear().value_or("nothing")];
  }
  if (GetParam() == mp::StartMethod::fork) {
    EXPECT_FALSE(counts.contains("nothing"));  // A forked child inherits what there is.
  } else {
    EXPECT_EQ(counts.size(), 1U) << "descriptors differ between children";
  }
  for (auto& p : all) {
    p.kill();
    p.join();
  }
}

TEST_P(ProcessConformance, process__waits_for_nondaemon_threads) {
  Channel report;
  Channel gate;
  mp::Process p(
      [](const Channel& out, const Channel& in) {
        const std::jthread worker([&] {
          in.wait_for_end();
          out.say("thread done");
        });
      },
      report, gate);
  p.start();
  p.join(50ms);
  EXPECT_TRUE(p.is_alive());
  gate.stop_writing();
  p.join();
  EXPECT_EQ(p.exitcode(), 0);
  EXPECT_EQ(report.hear(), "thread done");
}

TEST_P(ProcessConformance, process__parent_broken_std_streams) {
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    mp::detail::end_forkserver();
    Forked broken([stream, method = GetParam()] {
      close(stream);
      mp::Process p({.start_method = method}, nothing);
      p.start();
      p.join();
      mp::detail::end_forkserver();
      return p.exitcode().value_or(99);
    });
    EXPECT_EQ(broken.wait(), 0);
  }
}

class UpperCaser : public mp::Process {
 public:
  UpperCaser() = default;
  explicit UpperCaser(mp::ProcessOptions options) : mp::Process(std::move(options)) {}
  std::string ask(const std::string& text) {
    questions_.say(text);
    return answers_.hear().value_or("no answer");
  }
  void stop() { questions_.say(""); }
  void run() override {
    for (;;) {
      auto text = questions_.hear();
      if (!text || text->empty()) return;
      std::transform(text->begin(), text->end(), text->begin(), ::toupper);
      answers_.say(*text);
    }
  }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(questions_, answers_);
  }

 private:
  Channel questions_;
  Channel answers_;
};
const bool upper_caser_known = mp::register_process<UpperCaser>();

TEST_P(ProcessConformance, subclass__run_override_with_pipe) {
  ASSERT_TRUE(upper_caser_known);
  UpperCaser p(mp::ProcessOptions{.daemon = true});
  p.start();
  EXPECT_EQ(p.ask("hello"), "HELLO");
  EXPECT_EQ(p.ask("world"), "WORLD");
  p.stop();
  p.join();
  EXPECT_EQ(p.exitcode(), 0);
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A file of one test's own.
struct TemporaryFile {
  std::string path = (std::filesystem::temp_directory_path() / "libmp-test-XXXXXX").string();
  TemporaryFile() { close(mkstemp(path.data())); }
  ~TemporaryFile() { std::filesystem::remove(path); }
};

void send_stderr_to(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  dup2(fd, STDERR_FILENO);
  close(fd);
}

TEST_P(ProcessConformance, process__traceback_flushed_to_stderr) {
  const TemporaryFile file;
  mp::Process p(
      [](const std::string& path) {
        send_stderr_to(path);
        throw std::domain_error("division by zero");
      },
      file.path);
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), 1);
  EXPECT_NE(contents(file.path).find("std::domain_error: division by zero"), std::string::npos);
}

TEST_P(ProcessConformance, process__exit_codes) {
  const TemporaryFile file;
  mp::Process text(
      [](const std::string& path) {
        send_stderr_to(path);
        mp::exit("ignore this");
      },
      file.path);
  text.start();
  text.join();
  EXPECT_EQ(text.exitcode(), 1);
  EXPECT_EQ(contents(file.path), "ignore this\n");
  for (const int code : {1, 0, 8}) {
    mp::Process p([](int n) { mp::exit(n); }, code);
    p.start();
    p.join();
    EXPECT_EQ(p.exitcode(), code);
  }
  mp::Process plain([] { mp::exit(); });
  plain.start();
  plain.join();
  EXPECT_EQ(plain.exitcode(), 0);
}

TEST_P(ProcessConformance, extra__exit_code_mod_256) {
  for (const auto& [code, seen] : {std::pair(256, 0), std::pair(-1, 255)}) {
    mp::Process p([](int n) { mp::exit(n); }, code);
    p.start();
    p.join();
    EXPECT_EQ(p.exitcode(), seen);
  }
}

TEST_P(ProcessConformance, process__join_survives_eintr) {
  static std::atomic<int> handled{0};
  struct sigaction action {};
  action.sa_handler = [](int) { ++handled; };
  struct sigaction before {};
  sigaction(SIGUSR1, &action, &before);
  Channel gate;
  mp::Process p({.daemon = true}, hold, gate);
  p.start();
  const pthread_t main_thread = pthread_self();
  std::thread interrupter([&] {
    // Signals until one has interrupted the join; then the child is let go.
    while (handled < 3) {
      pthread_kill(main_thread, SIGUSR1);
      std::this_thread::yield();
    }
    gate.stop_writing();
  });
  p.join();
  interrupter.join();
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_GE(handled, 3);
  EXPECT_EQ(p.exitcode(), 0);
}

TEST(ProcessConformanceOnce, process__buffered_output_not_duplicated) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  Forked program([&] {
    dup2(ends[1], STDOUT_FILENO);
    std::printf("once;");  // Buffered: stdout is a pipe.
    mp::Process p([] { std::printf("child;"); });
    p.start();
    p.join();
    std::printf("end");
    std::fflush(stdout);
    return 0;
  });
  EXPECT_EQ(program.wait(), 0);
  std::array<char, 256> text{};
  const ssize_t size = read(ends[0], text.data(), text.size());
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))),
            "once;child;end");
}

TEST_P(ProcessConformance, process__no_fork_bomb) {
  // The same program executed as a child whose main() never comes to
  // freeze_support() is tests/conformance/no_guard.cpp; here: start() says so.
  const std::string program =
      std::string(NO_GUARD_PROGRAM) + " " + std::string(to_string(GetParam()));
  FILE* run = popen((program + " 2>&1").c_str(), "re");
  ASSERT_NE(run, nullptr);
  std::string output;
  for (int letter = fgetc(run); letter != EOF; letter = fgetc(run)) {
    output.push_back(static_cast<char>(letter));
  }
  const int status = pclose(run);
  if (GetParam() == mp::StartMethod::fork) {
    EXPECT_EQ(output, "123\n");
    EXPECT_EQ(status, 0);
  } else {
    EXPECT_NE(status, 0);
    EXPECT_EQ(output.find("123"), std::string::npos) << output;
    EXPECT_NE(output.find("freeze_support"), std::string::npos) << output;
  }
}

TEST_P(ProcessConformance, process__unneeded_fds_not_inherited) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // Not close-on-exec.
  const int high = fcntl(ends[0], F_DUPFD, 50);
  mp::Process p([](int fd) { mp::exit(fcntl(fd, F_GETFD) < 0 ? 1 : 0); }, high);
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), GetParam() == mp::StartMethod::fork ? 0 : 1);
  close(ends[0]);
  close(ends[1]);
  close(high);
}

TEST(ProcessConformanceOnce, afterfork__registry_does_not_grow) {
  // Each of twenty generations says how many functions are called after a fork.
  Channel report;
  struct Nest {
    static void go(const Channel& out, int depth) {
      out.say(std::to_string(mp::detail::after_fork_functions()));
      if (depth == 0) return;
      mp::Process p(&Nest::go, out, depth - 1);
      p.start();
      p.join();
      mp::exit(p.exitcode().value_or(1));
    }
  };
  constexpr int generations = 20;
  mp::Process p(&Nest::go, report, generations);
  p.start();
  const auto first = report.hear();
  for (int i = 0; i < generations; ++i) EXPECT_EQ(report.hear(), first) << "generation " << i;
  p.join();
  EXPECT_EQ(p.exitcode(), 0);
}

// --- promised by source or documentation, checked by no test of CPython's ---

TEST_P(ProcessConformance, extra__process_repr_all_states) {
  mp::Process p({.name = "P"}, [] { mp::exit(7); });
  EXPECT_NE(p.repr().find(" initial>"), std::string::npos);
  p.start();
  p.join();
  EXPECT_NE(p.repr().find(" stopped exitcode=7>"), std::string::npos);
  EXPECT_EQ(mp::current_process().repr(), "<_MainProcess name='MainProcess' parent=None started>");
  p.close();
  EXPECT_NE(p.repr().find(" closed>"), std::string::npos);
}

TEST_P(ProcessConformance, extra__process_start_twice) {
  mp::Process p(nothing);
  p.start();
  try {
    p.start();
    ADD_FAILURE() << "started twice";
  } catch (const mp::AssertionError& error) {
    EXPECT_STREQ(error.what(), "cannot start a process twice");
  }
  p.join();
}

TEST(ProcessConformanceOnce, extra__process_join_unstarted) {
  try {
    mp::Process(nothing).join();
    ADD_FAILURE() << "joined";
  } catch (const mp::AssertionError& error) {
    EXPECT_STREQ(error.what(), "can only join a started process");
  }
}

TEST(ProcessConformanceOnce, extra__process_foreign_use) {
  Channel gate;
  mp::Process held({.daemon = true}, hold, gate);
  held.start();
  Forked stranger([&] {
    try {
      held.join(0s);
    } catch (const mp::AssertionError&) {
      return 0;
    }
    return 1;
  });
  EXPECT_EQ(stranger.wait(), 0);
  held.kill();
  held.join();
}

TEST_P(ProcessConformance, extra__daemon_cannot_have_children) {
  mp::Process p({.daemon = true}, [] {
    try {
      mp::Process(nothing).start();
    } catch (const mp::AssertionError&) {
      mp::exit(42);
    }
  });
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), 42);
}

TEST(ProcessConformanceOnce, extra__daemon_set_after_start) {
  mp::Process p(nothing);
  p.start();
  EXPECT_THROW(p.set_daemon(true), mp::AssertionError);
  p.join();
}

TEST_P(ProcessConformance, extra__uncaught_exception_exit_1) {
  const TemporaryFile file;
  mp::Process p(
      {.name = "Thrower"},
      [](const std::string& path) {
        send_stderr_to(path);
        throw std::runtime_error("text");
      },
      file.path);
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), 1);
  EXPECT_EQ(contents(file.path), "Process Thrower:\nstd::runtime_error: text\n");
}

TEST_P(ProcessConformance, extra__child_stdin_is_devnull) {
  mp::Process p([] { mp::exit(std::getchar() == EOF ? 0 : 1); });
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), 0);
}

TEST_P(ProcessConformance, extra__bootstrap_log_order) {
  const TemporaryFile file;
  mp::Process p(
      {.name = "Logs"},
      [](const std::string& path) {
        send_stderr_to(path);
        mp::log_to_stderr(mp::logging::debug);
      },
      file.path);
  p.start();
  p.join();
  EXPECT_EQ(contents(file.path),
            "[INFO/Logs] process exiting with exitcode 0\n"
            "[INFO/Logs] process shutting down\n"
            "[DEBUG/Logs] running all \"atexit\" finalizers with priority >= 0\n"
            "[DEBUG/Logs] running the remaining \"atexit\" finalizers\n");
}

TEST_P(ProcessConformance, extra__exit_terminates_daemons_joins_others) {
  const TemporaryFile file;
  Channel gate;
  Channel held;
  mp::Process program(
      {.name = "Program"},
      [](const std::string& path, const Channel& in, const Channel& daemons) {
        send_stderr_to(path);
        mp::log_to_stderr(mp::logging::info);
        mp::Process daemon({.name = "D", .daemon = true}, hold, daemons);
        daemon.start();
        mp::Process other({.name = "N"}, hold, in);
        other.start();
        in.stop_writing();
      },
      file.path, gate, held);
  program.start();
  program.join(50ms);
  EXPECT_TRUE(program.is_alive());  // It waits for N.
  gate.stop_writing();
  program.join();
  const std::string text = contents(file.path);
  const auto terminate = text.find("[INFO/Program] calling terminate() for daemon D\n");
  const auto join_daemon = text.find("[INFO/Program] calling join() for process D\n");
  const auto join_other = text.find("[INFO/Program] calling join() for process N\n");
  EXPECT_NE(join_other, std::string::npos) << text;
  EXPECT_LT(terminate, join_daemon) << text;
  EXPECT_NE(join_daemon, std::string::npos) << text;
}

// --- where CPython hangs ---

TEST_P(ProcessConformance, survive__sentinel_with_grandchild) {
  Channel report;
  Channel gate;
  mp::Process child(
      [](const Channel& out, const Channel& in) {
        if (fork() == 0) {
          in.wait_for_end();
          out.say("grandchild lived on");
          _exit(0);
        }
      },
      report, gate);
  child.start();
  pollfd sentinel{child.sentinel(), POLLIN, 0};
  EXPECT_EQ(poll(&sentinel, 1, 20'000), 1);
  child.join(20s);
  EXPECT_EQ(child.exitcode(), 0);
  gate.stop_writing();
  EXPECT_EQ(report.hear(), "grandchild lived on");
  report.stop_writing();
  EXPECT_TRUE(report.ended());
}

TEST_P(ProcessConformance, survive__join_timeout_with_exec) {
  mp::Process p({.daemon = true}, [] { execl("/bin/sleep", "sleep", "60", nullptr); });
  p.start();
  const auto before = std::chrono::steady_clock::now();
  p.join(200ms);
  const auto took = std::chrono::steady_clock::now() - before;
  EXPECT_GE(took, 200ms);
  EXPECT_LT(took, 10s);
  EXPECT_TRUE(p.is_alive());
  p.kill();
  p.join();
}

TEST_P(ProcessConformance, survive__sigchld_ignored) {
  mp::detail::end_forkserver();
  Forked program([method = GetParam()] {
    signal(SIGCHLD, SIG_IGN);
    mp::Process p({.start_method = method}, nothing);
    p.start();
    p.join(20s);
    const bool right = !p.is_alive() && p.exitcode() == 255;
    mp::detail::end_forkserver();
    return right ? 0 : 1;
  });
  EXPECT_EQ(program.wait(), 0);
}

TEST_P(ProcessConformance, survive__concurrent_join) {
  for (int round = 0; round < 20; ++round) {
    mp::Process p([] { mp::exit(3); });
    p.start();
    std::array<std::optional<int>, 8> codes;
    {
      std::vector<std::jthread> threads;
      for (auto& code : codes) {
        threads.emplace_back([&] {
          p.join();
          code = p.exitcode();
        });
      }
    }
    for (const auto& code : codes) EXPECT_EQ(code, 3);
  }
}

// --- main: what stands for CPython's scripts and packages is a path ---

TEST(ProcessConformanceOnce, main__script_forms) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / fmt::format("libmp-main-{}", getpid());
  fs::create_directory(folder);
  const auto self = fs::read_symlink("/proc/self/exe");
  fs::create_symlink(self, folder / "link");
  fs::copy_file(self, folder / "copy");
  // Each form runs one spawning test of this very program.
  const std::string filter = " --gtest_filter='*process__parent_attributes/*' > /dev/null";
  EXPECT_EQ(std::system((folder / "link").string().append(filter).c_str()), 0);
  EXPECT_EQ(std::system(("cd " + folder.string() + " && ./copy" + filter).c_str()), 0);
  EXPECT_EQ(std::system(("cd " + folder.string() + " && PATH=. copy" + filter).c_str()), 0);
  fs::remove_all(folder);
}

}  // namespace
