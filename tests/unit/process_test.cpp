#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <latch>
#include <memory>
#include <mp/detail/forkserver.hpp>
#include <mp/mp.hpp>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "channel.hpp"
#include "children.hpp"
#include "forked.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::Channel;

void nothing() {}
void wait_until_let_go(const Channel& gate) { gate.wait_for_end(); }

/// A child that runs until the test ends it, or lets go of its gate.
struct Held {
  Channel gate;
  mp::Process process;
  explicit Held(mp::ProcessOptions options = {.daemon = true})
      : process(std::move(options), wait_until_let_go, gate) {
    process.start();
  }
  void let_go() { gate.stop_writing(); }
  ~Held() {
    let_go();
    process.join();
  }
};

class ProcessTest : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ProcessTest);

TEST_P(ProcessTest, RunsItsTargetWithItsArguments) {
  Channel report;
  mp::Process p(
      [](const Channel& out, int a, const std::string& b) { out.say(b + std::to_string(a)); },
      report, 3, "x");
  p.start();
  EXPECT_EQ(report.hear(), "x3");
  p.join();
  EXPECT_EQ(p.exitcode(), 0);
}

TEST_P(ProcessTest, ReprTellsEveryState) {
  const std::string parent = std::to_string(getpid());
  mp::Process p({.name = "P"}, nothing);
  EXPECT_EQ(p.repr(), "<Process name='P' parent=" + parent + " initial>");
  p.start();
  const std::string pid = std::to_string(p.pid().value());
  p.join();
  EXPECT_EQ(p.repr(),
            "<Process name='P' pid=" + pid + " parent=" + parent + " stopped exitcode=0>");
  p.close();
  EXPECT_EQ(p.repr(), "<Process name='P' parent=" + parent + " closed>");

  Held held({.name = "H", .daemon = true});
  EXPECT_EQ(held.process.repr(), fmt::format("<Process name='H' pid={} parent={} started daemon>",
                                             *held.process.pid(), getpid()));
  held.process.terminate();
  held.process.join();
  EXPECT_EQ(held.process.repr(),
            fmt::format("<Process name='H' pid={} parent={} stopped exitcode=-SIGTERM daemon>",
                        *held.process.pid(), getpid()));
}

TEST_P(ProcessTest, ExitcodeOfARealTimeSignalIsANumber) {
  mp::Process p({.name = "P"}, [] { raise(37); });
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), -37);
  EXPECT_NE(p.repr().find("exitcode=-37>"), std::string::npos);
}

TEST_P(ProcessTest, NamesFollowTheOrderOfConstruction) {
  mp::Process first(nothing);
  const int base = std::stoi(first.name().substr(first.name().find('-') + 1));
  mp::Process second(nothing);
  EXPECT_EQ(second.name(), "Process-" + std::to_string(base + 1));
  Channel report;
  mp::Process p(
      [](const Channel& out) {
        mp::Process a(nothing);
        mp::Process b(nothing);
        out.say(a.name() + " " + b.name());
      },
      report);
  p.start();
  EXPECT_EQ(report.hear(), p.name() + ":1 " + p.name() + ":2");
  p.join();
}

TEST_P(ProcessTest, ANameGivenLaterIsTheChildsToo) {
  Channel report;
  mp::Process p([](const Channel& out) { out.say(mp::current_process().name()); }, report);
  p.set_name("given later");
  p.start();
  EXPECT_EQ(report.hear(), "given later");
  EXPECT_EQ(p.ident(), p.pid());
  p.join();
}

TEST_P(ProcessTest, AKeyIsInheritedByChildrenAndTheirs) {
  const std::vector<std::byte> key{std::byte{1}, std::byte{2}, std::byte{3}};
  mp::Process p(
      [](const std::vector<std::byte>& key) {
        const bool own = mp::current_process().authkey().bytes() == key;
        mp::exit(own && mp::Process(nothing).authkey().bytes() == key ? 0 : 1);
      },
      key);
  EXPECT_EQ(p.authkey().bytes(), mp::current_process().authkey().bytes());
  p.set_authkey(mp::AuthenticationString(key));
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), 0);
}

TEST_P(ProcessTest, ReprOfAChildAndItsParentAsTheChildSeesThem) {
  Channel report;
  mp::Process p(
      {.name = "P"},
      [](const Channel& out) {
        out.say(mp::current_process().repr());
        out.say(mp::parent_process()->repr());
      },
      report);
  p.start();
  EXPECT_EQ(report.hear(), fmt::format("<Process name='P' parent={} started>", getpid()));
  EXPECT_EQ(report.hear(), "<_ParentProcess name='MainProcess' parent=None unknown>");
  p.join();
}

TEST_P(ProcessTest, AMethodOfItsOwnDoesNotFixTheDefault) {
  mp::set_start_method(std::nullopt, true);
  mp::Process own({.start_method = GetParam()}, nothing);
  own.start();
  own.join();
  EXPECT_EQ(mp::get_fixed_start_method(), std::nullopt);
  mp::Process other(nothing);
  other.start();
  other.join();
  EXPECT_EQ(mp::get_fixed_start_method(), mp::StartMethod::fork);
  mp::set_start_method(GetParam(), true);
}

TEST_P(ProcessTest, HandlesToOneProcessAreEqual) {
  Channel gate;
  mp::Process p([](const Channel& in) { in.hear(60s); }, gate);
  const mp::Process other(nothing);
  EXPECT_NE(p, other);
  p.start();
  const auto children = mp::active_children();
  EXPECT_EQ(std::count(children.begin(), children.end(), p), 1);
  EXPECT_EQ(mp::current_process(), mp::current_process());
  gate.say("end");
  p.join();
}

class OwnClass : public mp::Process {};
static_assert(std::is_move_constructible_v<OwnClass>);
static_assert(!std::is_constructible_v<mp::Process, OwnClass>);
static_assert(!std::is_assignable_v<mp::Process&, OwnClass>);

TEST_P(ProcessTest, StartTwiceIsAnError) {
  mp::Process p(nothing);
  p.start();
  p.join();
  EXPECT_THROW(p.start(), mp::AssertionError);
}

TEST(ProcessMoveTest, TheObjectMovedFromRefusesEveryCall) {
  mp::Process from({.name = "P"}, nothing);
  mp::Process to = std::move(from);
  for (const auto& call : {
           // NOLINTBEGIN(bugprone-use-after-move): that is what is tested.
           std::function<void()>([&] { from.start(); }),
           std::function<void()>([&] { from.join(); }),
           std::function<void()>([&] { from.terminate(); }),
           std::function<void()>([&] { from.close(); }),
           std::function<void()>([&] { from.set_name("Q"); }),
           std::function<void()>([&] { from.set_daemon(true); }),
           std::function<void()>([&] { from.set_authkey(from.authkey()); }),
           std::function<void()>([&] { from.run(); }),
           std::function<void()>([&] { (void)from.is_alive(); }),
           std::function<void()>([&] { (void)from.exitcode(); }),
           std::function<void()>([&] { (void)from.name(); }),
           std::function<void()>([&] { (void)from.daemon(); }),
           std::function<void()>([&] { (void)from.pid(); }),
           std::function<void()>([&] { (void)from.sentinel(); }),
           std::function<void()>([&] { (void)from.repr(); }),
           // NOLINTEND(bugprone-use-after-move)
       }) {
    EXPECT_THROW(call(), mp::ValueError);
  }
  EXPECT_EQ(to.name(), "P");
  from = std::move(to);
  EXPECT_EQ(from.name(), "P");
}

TEST_P(ProcessTest, JoinAndSignalsBeforeStartAreErrors) {
  mp::Process p(nothing);
  EXPECT_THROW(p.join(), mp::AssertionError);
  EXPECT_THROW(p.terminate(), mp::AssertionError);
  EXPECT_THROW(p.kill(), mp::AssertionError);
  EXPECT_THROW((void)p.sentinel(), mp::ValueError);
  EXPECT_FALSE(p.is_alive());
  EXPECT_EQ(p.exitcode(), std::nullopt);
  EXPECT_EQ(p.pid(), std::nullopt);
}

TEST_P(ProcessTest, AClosedProcessKeepsOnlyItsNameAndFlags) {
  mp::Process p({.name = "P", .daemon = true}, nothing);
  p.start();
  p.join();
  p.close();
  p.close();
  EXPECT_THROW(p.start(), mp::ValueError);
  EXPECT_THROW(p.join(), mp::ValueError);
  EXPECT_THROW((void)p.is_alive(), mp::ValueError);
  EXPECT_THROW(p.terminate(), mp::ValueError);
  EXPECT_THROW((void)p.exitcode(), mp::ValueError);
  EXPECT_THROW((void)p.pid(), mp::ValueError);
  EXPECT_THROW((void)p.sentinel(), mp::ValueError);
  EXPECT_EQ(p.name(), "P");
  EXPECT_TRUE(p.daemon());
}

TEST_P(ProcessTest, CloseWhileItRunsIsAnError) {
  Held held;
  EXPECT_THROW(held.process.close(), mp::ValueError);
  EXPECT_TRUE(held.process.is_alive());
}

TEST(ProcessCloseTest, AnotherThreadMayCloseWhatHasEndedBeforeStartReturns) {
  std::optional<mp::Process> p;
  // Let go of by start(), when the child is there.
  std::shared_ptr<void> target_s(nullptr, [&p](void*) {
    std::thread([&p] {
      p->join();
      p->close();
    }).join();
  });
  p.emplace(mp::ProcessOptions{.start_method = mp::StartMethod::fork},
            [kept = std::move(target_s)] {});
  p->start();
  EXPECT_THROW(p->join(), mp::ValueError);
}

TEST_P(ProcessTest, DaemonIsFixedByStart) {
  Held held;
  EXPECT_THROW(held.process.set_daemon(false), mp::AssertionError);
}

TEST_P(ProcessTest, ADaemonHasNoChildren) {
  Channel report;
  mp::Process p(
      {.daemon = true},
      [](const Channel& out) {
        mp::Process child(nothing);
        try {
          child.start();
          out.say("started");
        } catch (const mp::AssertionError& error) {
          out.say(error.what());
        }
      },
      report);
  p.start();
  EXPECT_EQ(report.hear(), "daemonic processes are not allowed to have children");
  p.join();
}

// The object is inherited by fork only.
TEST(ProcessOfAnotherTest, ItsCallsAreRefused) {
  Held held;
  mp::Process unstarted(nothing);
  Channel report;
  mp::Process p([&] {
    for (const auto& call : {std::function<void()>([&] { unstarted.start(); }),
                             std::function<void()>([&] { held.process.join(); }),
                             std::function<void()>([&] { (void)held.process.is_alive(); })}) {
      try {
        call();
        report.say("allowed");
      } catch (const mp::AssertionError& error) {
        report.say(error.what());
      }
    }
    report.say(held.process.repr().find(" unknown daemon>") != std::string::npos ? "unknown" : "?");
    held.gate.stop_writing();
  });
  p.start();
  EXPECT_EQ(report.hear(), "can only start a process object created by current process");
  EXPECT_EQ(report.hear(), "can only join a child process");
  EXPECT_EQ(report.hear(), "can only test a child process");
  EXPECT_EQ(report.hear(), "unknown");
  p.join();
}

TEST_P(ProcessTest, JoinThatRunsOutOfTimeLeavesExitcodeEmpty) {
  Held held;
  const auto before = std::chrono::steady_clock::now();
  held.process.join(50ms);
  EXPECT_GE(std::chrono::steady_clock::now() - before, 50ms);
  held.process.join(0ms);
  held.process.join(-1s);
  EXPECT_EQ(held.process.exitcode(), std::nullopt);
  EXPECT_TRUE(held.process.is_alive());
}

TEST_P(ProcessTest, UncaughtExceptionsAreShownWithTheirCauses) {
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  const int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  dup2(pipe_ends[1], STDERR_FILENO);
  mp::detail::end_forkserver();  // The next one inherits this stderr.
  mp::Process raises({.name = "raises"}, [] {
    try {
      throw std::out_of_range("inner");
    } catch (...) {
      std::throw_with_nested(std::runtime_error("outer"));
    }
  });
  raises.start();
  raises.join();
  mp::detail::end_forkserver();
  dup2(saved, STDERR_FILENO);
  close(saved);
  close(pipe_ends[1]);
  std::string text(4096, '\0');
  const ssize_t size = read(pipe_ends[0], text.data(), text.size());
  close(pipe_ends[0]);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  EXPECT_EQ(raises.exitcode(), 1);
  EXPECT_NE(text.find("Process raises:\n"), std::string::npos) << text;
  EXPECT_NE(text.find("runtime_error: outer\n"), std::string::npos) << text;
  EXPECT_NE(text.find("out_of_range: inner\n"), std::string::npos) << text;
}

/// What a program of its own that calls `function` writes to stderr.
std::string stderr_of_program(void (*function)()) {
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) return "no pipe";
  const int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  dup2(pipe_ends[1], STDERR_FILENO);
  mp::Process program({.start_method = mp::StartMethod::spawn}, function);
  program.start();
  dup2(saved, STDERR_FILENO);
  close(saved);
  close(pipe_ends[1]);
  std::string text;
  char piece[512];
  for (ssize_t size; (size = read(pipe_ends[0], piece, sizeof piece)) > 0;)
    text.append(piece, size);
  close(pipe_ends[0]);
  program.join();
  EXPECT_EQ(program.exitcode(), 0);
  return text;
}

void fork_a_child() {
  mp::Process p({.start_method = mp::StartMethod::fork}, nothing);
  p.start();
  p.join();
}

TEST(ForkAmongThreadsTest, WarnsOfAThreadThatRunsAndSaysSoOnce) {
  const std::string text = stderr_of_program([] {
    std::latch finished(1);
    const std::jthread other([&] { finished.wait(); });
    fork_a_child();
    fork_a_child();
    finished.count_down();
  });
  const std::string warning = "this process has 2 threads: ";
  EXPECT_EQ(text.find(warning), 0U) << text;
  EXPECT_NE(text.find("use the start method forkserver or spawn"), std::string::npos) << text;
  EXPECT_EQ(text.find(warning, 1), std::string::npos) << text;
}

TEST(ForkAmongThreadsTest, DoesNotWarnOfAThreadOfLibmpsOwnThatIsAboutToEnd) {
  EXPECT_EQ(stderr_of_program([] {
              std::latch named(1), finished(1);
              const std::jthread own([&] {
                pthread_setname_np(pthread_self(), "libmp-service");
                named.count_down();
                finished.wait();
              });
              named.wait();
              fork_a_child();
              finished.count_down();
            }),
            "");
}

/// The first thread of a program that has ended is listed as long as there are others.
TEST(ForkAmongThreadsTest, DoesNotWarnOfAThreadThatHasEnded) {
  EXPECT_EQ(stderr_of_program([] {
              const auto stat =
                  std::filesystem::path("/proc/self/task") / std::to_string(getpid()) / "stat";
              std::thread([stat] {
                std::string text;
                while (text.find(") Z ") == std::string::npos) {
                  std::getline(std::ifstream(stat), text);
                }
                fork_a_child();
                _exit(0);
              }).detach();
              syscall(SYS_exit, 0);
            }),
            "");
}

TEST_P(ProcessTest, WhatIsNotAStandardExceptionGivesOneToo) {
  mp::Process p([] { throw 7; });
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), 1);
}

TEST_P(ProcessTest, ActiveChildrenAreThoseThatRun) {
  Held held;
  mp::Process done(nothing);
  done.start();
  done.join();
  const auto children = mp::active_children();
  ASSERT_EQ(children.size(), 1U);
  EXPECT_EQ(children[0].pid(), held.process.pid());
}

TEST_P(ProcessTest, AHandleDroppedNeitherKillsNorWaits) {
  Channel gate;
  Channel report;
  {
    mp::Process p(
        {.daemon = true},
        [](const Channel& in, const Channel& out) {
          in.wait_for_end();
          out.say("lived on");
        },
        gate, report);
    p.start();
  }
  gate.stop_writing();
  EXPECT_EQ(report.hear(), "lived on");
  for (auto& child : mp::active_children()) child.join();
}

class Consumer : public mp::Process {
 public:
  Consumer() = default;
  Consumer(Channel out, std::string what) : out_(std::move(out)), what_(std::move(what)) {}
  void run() override { out_.say(name() + " " + what_); }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(out_, what_);
  }

 private:
  Channel out_;
  std::string what_;
};
const bool consumer_known = mp::register_process<Consumer>();

TEST_P(ProcessTest, AClassOfOnesOwnRunsItsRun) {
  ASSERT_TRUE(consumer_known);
  Channel report;
  Consumer consumer(report, "eats");
  consumer.start();
  EXPECT_EQ(report.hear(), consumer.name() + " eats");
  EXPECT_TRUE(consumer.name().starts_with("Consumer-"));
  consumer.join();
}

class Unknown : public mp::Process {
 public:
  void run() override {}
};

TEST(ProcessPicklingTest, WhatCannotCrossIsRefusedBeforeAChildExists) {
  int captured = 3;
  for (const auto method : {mp::StartMethod::spawn, mp::StartMethod::forkserver}) {
    mp::Process lambda({.start_method = method}, [captured] { std::exit(captured); });
    EXPECT_THROW(lambda.start(), mp::PicklingError);
    EXPECT_EQ(lambda.pid(), std::nullopt);
    int value = 0;
    mp::Process pointer(
        {.start_method = method}, [](int*) {}, &value);
    EXPECT_THROW(pointer.start(), mp::PicklingError);
    mp::set_start_method(method, true);
    Unknown unknown;
    EXPECT_THROW(unknown.start(), mp::PicklingError);
  }
  mp::set_start_method(mp::StartMethod::fork, true);
  EXPECT_TRUE(mp::active_children().empty());
}

TEST(ProcessPicklingTest, AnExecutableThatIsNotThereIsASystemErrorAndStartMayBeCalledAgain) {
  for (const auto method : {mp::StartMethod::spawn, mp::StartMethod::forkserver}) {
    mp::detail::end_forkserver();
    mp::set_executable("/nonexistent/program");
    mp::Process p({.start_method = method}, nothing);
    try {
      p.start();
      ADD_FAILURE() << "started by " << method;
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), ENOENT);
      EXPECT_NE(std::string(error.what()).find("/nonexistent/program"), std::string::npos);
    }
    mp::set_executable("");
    p.start();
    p.join();
    EXPECT_EQ(p.exitcode(), 0);
  }
}

TEST_P(ProcessTest, TargetAndArgumentsAreReleasedByStart) {
  auto argument = std::make_shared<int>(1);
  if (GetParam() == mp::StartMethod::fork) {
    mp::Process p([argument] {});
    EXPECT_EQ(argument.use_count(), 2);
    p.start();
    EXPECT_EQ(argument.use_count(), 1);
    p.join();
  } else {
    Channel gate;
    mp::Process p(wait_until_let_go, gate);
    p.start();
    gate.stop_writing();  // The only writers left are the child's own, which it closes.
    p.join(20s);
    EXPECT_EQ(p.exitcode(), 0);
  }
}

TEST_P(ProcessTest, StdinOfAChildIsEmpty) {
  mp::Process p([] {
    char letter = 0;
    mp::exit(read(STDIN_FILENO, &letter, 1) == 0 ? 0 : 1);
  });
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), 0);
}

/// From now on this process is refused every child. The limit binds nobody who is root.
void be_refused_children() {
  if (geteuid() == 0) mp::detail::check(setuid(65534), "setuid");
  const rlimit limit{1, 1};
  mp::detail::check(setrlimit(RLIMIT_NPROC, &limit), "setrlimit");
}

TEST_P(ProcessTest, ARefusedForkIsASystemError) {
  mp::detail::end_forkserver();
  mp::test::Forked poor([method = GetParam()] {
    // With a fork server it is the server who forks.
    const bool served = method == mp::StartMethod::forkserver;
    mp::set_forkserver_preload({be_refused_children});
    if (!served) be_refused_children();
    mp::Process p({.start_method = method}, nothing);
    std::optional<pid_t> server;
    for (int tries = 0; tries < 2; ++tries) {
      try {
        p.start();
        return 1;
      } catch (const std::system_error& error) {
        if (error.code().value() != EAGAIN || !mp::active_children().empty()) return 2;
      }
      if (tries == 0) server = mp::detail::forkserver_pid();
    }
    // A server that was refused is a good one.
    if (server.has_value() != served || server != mp::detail::forkserver_pid()) return 3;
    mp::detail::end_forkserver();
    return 0;
  });
  EXPECT_EQ(poor.wait(), 0);
}

TEST_P(ProcessTest, WorksWithoutStandardStreams) {
  mp::detail::end_forkserver();
  mp::test::Forked bare([method = GetParam()] {
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    mp::Process p({.start_method = method}, nothing);
    p.start();
    p.join();
    mp::detail::end_forkserver();
    return p.exitcode().value_or(99);
  });
  EXPECT_EQ(bare.wait(), 0);
}

/// What println says where there is no stdout.
bool prints_nowhere() {
  try {
    mp::println("a line that must not land in shared memory {}", std::string(3000, 'x'));
    return false;
  } catch (const std::system_error& error) {
    return error.code().value() == EBADF;
  }
}

TEST_P(ProcessTest, WithoutStandardStreamsWhatIsPrintedHarmsNothingShared) {
  mp::detail::end_forkserver();
  mp::test::Forked bare([method = GetParam()] {
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    mp::Lock lock;
    mp::Queue<std::string> queue;
    auto [here, there] = mp::Pipe();
    if (!prints_nowhere()) return 1;
    mp::Process p(
        {.start_method = method},
        [](mp::Lock lock, mp::Queue<std::string> out, mp::Connection from) {
          mp::Queue<int> own;
          if (!prints_nowhere()) mp::exit(2);
          const std::scoped_lock guard(lock);
          own.put(5);
          out.put(std::string(100'000, 'y'));
          out.put(from.recv<std::string>());
          if (own.get() != 5) mp::exit(3);
        },
        lock, queue, there);
    p.start();
    here.send(std::string("through the pipe"));
    // Too large for a moment's place in memory: it is in a second file.
    const bool right = queue.get() == std::string(100'000, 'y') && prints_nowhere() &&
                       queue.get() == "through the pipe";
    p.join();
    if (!right) return 4;
    if (!lock.acquire(std::chrono::seconds(0))) return 5;
    lock.release();
    mp::detail::end_forkserver();
    return p.exitcode().value_or(99);
  });
  EXPECT_EQ(bare.wait(), 0);
}

TEST_P(ProcessTest, IgnoredSigchldLosesTheStatusButNotTheEnd) {
  mp::detail::end_forkserver();
  mp::test::Forked ignorant([method = GetParam()] {
    signal(SIGCHLD, SIG_IGN);
    Held held({.daemon = true, .start_method = method});
    const bool alive = held.process.is_alive();
    held.process.kill();
    held.process.join();
    return alive && !held.process.is_alive() && held.process.exitcode() == 255 ? 0 : 1;
  });
  EXPECT_EQ(ignorant.wait(), 0);
}

TEST_P(ProcessTest, AChildReapedByAnotherHasEnded) {
  mp::test::Forked other([method = GetParam()] {
    mp::Process p({.start_method = method}, nothing);
    p.start();
    waitpid(*p.pid(), nullptr, 0);
    p.join();
    const bool right = !p.is_alive() && p.exitcode() == 255;
    mp::detail::end_forkserver();
    return right ? 0 : 1;
  });
  EXPECT_EQ(other.wait(), 0);
}

}  // namespace
