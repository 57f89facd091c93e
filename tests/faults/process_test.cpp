// Processes that are killed where it hurts: nobody waits for ever, nothing is
// left, no status is lost.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <mp/detail/forkserver.hpp>
#include <mp/mp.hpp>
#include <random>
#include <set>
#include <string>
#include <thread>

#include "channel.hpp"
#include "children.hpp"
#include "forked.hpp"
#include "pools.hpp"
#include "processes.hpp"

namespace {

using namespace std::chrono_literals;
using mp::test::Channel;
using mp::test::comes_true;
using mp::test::Forked;
using mp::test::is_gone;

constexpr auto death_is_noticed_within = 2s;

void nothing() {}

class ProcessFaults : public mp::test::EachMethod {};
MP_TEST_EACH_METHOD(ProcessFaults);

// --- a daemon ends with its parent ---

enum class Doing { waiting, computing, blocking_signals };

// Holds `alive` open for as long as it lives.
void live(const Channel& alive, const Channel& ready, Doing doing) {
  if (doing == Doing::blocking_signals) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, nullptr);
  }
  ready.say("ready");
  if (doing == Doing::computing) {
    for (;;) mp::detail::spin_pause();
  }
  // What it waits for it holds itself: only a signal gets it out.
  (void)alive;
  for (;;) pause();
}

class DaemonFaults : public ProcessFaults {};
MP_TEST_EACH_METHOD(DaemonFaults);

TEST_P(DaemonFaults, ADaemonThatExecutesAnotherProgramEndsWithItsKilledParent) {
  Channel to;
  Channel from;
  Forked program([&] {
    mp::Process daemon(
        {.daemon = true},
        [](const Channel& in, const Channel& out) {
          dup2(in.reading_end(), STDIN_FILENO);
          dup2(out.writing_end(), STDOUT_FILENO);
          execlp("cat", "cat", nullptr);
        },
        to, from);
    daemon.start();
    for (;;) pause();
    return 0;
  });
  from.stop_writing();
  to.say("the other program runs");
  ASSERT_EQ(from.hear(), "the other program runs");
  program.kill();
  EXPECT_TRUE(from.ended(death_is_noticed_within));
}

TEST_P(DaemonFaults, ADaemonEndsWithItsKilledParent) {
  for (const Doing doing : {Doing::waiting, Doing::computing, Doing::blocking_signals}) {
    Channel alive;
    Channel ready;
    Forked program([&] {
      mp::Process daemon({.daemon = true}, live, alive, ready, doing);
      daemon.start();
      for (;;) pause();
      return 0;
    });
    alive.stop_writing();
    ASSERT_EQ(ready.hear(), "ready");
    program.kill();
    EXPECT_TRUE(alive.ended(death_is_noticed_within)) << "doing " << static_cast<int>(doing);
  }
}

TEST_P(DaemonFaults, ADaemonOutlivesTheThreadThatStartedItAndEndsWithTheProcess) {
  Channel alive;
  Channel ready;
  Channel gone;
  Forked program([&] {
    mp::Process daemon({.daemon = true}, live, alive, ready, Doing::waiting);
    std::thread([&] {
      daemon.start();
      ready.hear();  // It has made its arrangements by now.
    }).join();
    gone.say("the thread is gone");
    daemon.join(100ms);
    gone.say(daemon.is_alive() ? "alive" : "dead");
    for (;;) pause();
    return 0;
  });
  alive.stop_writing();
  EXPECT_EQ(gone.hear(), "the thread is gone");
  EXPECT_EQ(gone.hear(), "alive");
  program.kill();
  EXPECT_TRUE(alive.ended(death_is_noticed_within));
}

TEST_P(DaemonFaults, ADaemonJustBeingBornEndsWithItsKilledParent) {
  std::minstd_rand random(7);
  for (int round = 0; round < 15; ++round) {
    Channel alive;
    Channel ready;
    Forked program([&] {
      std::vector<mp::Process> daemons;
      for (;;) {
        daemons.emplace_back(mp::ProcessOptions{.daemon = true}, live, alive, ready, Doing::waiting)
            .start();
        if (daemons.size() > 20) {
          daemons.front().kill();
          daemons.front().join();
          daemons.erase(daemons.begin());
        }
      }
      return 0;
    });
    alive.stop_writing();
    // Killed a while after the first daemons stand, at no particular point.
    ASSERT_EQ(ready.hear(), "ready");
    for (auto spins = random() % 2'000'000; spins > 0; --spins) mp::detail::spin_pause();
    program.kill();
    EXPECT_TRUE(alive.ended(death_is_noticed_within)) << "round " << round;
  }
}

TEST_P(ProcessFaults, AChildThatIsNoDaemonLivesOnAndNotices) {
  Channel report;
  // Orphans come to this process, so that the test can bury them.
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  Forked program([&] {
    mp::Process child(
        [](const Channel& out) {
          out.say(std::to_string(getpid()));
          auto parent = mp::parent_process();
          parent->join();
          out.say(parent->is_alive() ? "alive" : "noticed");
        },
        report);
    child.start();
    for (;;) pause();
    return 0;
  });
  const auto pid = report.hear();
  ASSERT_TRUE(pid);
  program.kill();
  EXPECT_EQ(report.hear(), "noticed");
  if (GetParam() != mp::StartMethod::forkserver) {
    waitpid(std::stoi(*pid), nullptr, 0);
  } else {
    while (waitpid(-1, nullptr, 0) > 0) {
    }
  }
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

// --- the fork server ---

TEST(ForkServerFaults, ItsDeathCostsNoStatusAndTheNextStartHasAnother) {
  Channel gate;
  mp::Process held(
      {.daemon = true, .start_method = mp::StartMethod::forkserver},
      [](const Channel& in) {
        in.wait_for_end();
        mp::exit(42);
      },
      gate);
  held.start();
  const auto first = mp::detail::forkserver_pid();
  ASSERT_TRUE(first);
  kill(*first, SIGKILL);
  mp::Process next({.start_method = mp::StartMethod::forkserver}, nothing);
  next.start();
  next.join();
  EXPECT_EQ(next.exitcode(), 0);
  EXPECT_NE(mp::detail::forkserver_pid(), first);
  gate.stop_writing();
  held.join();
  EXPECT_EQ(held.exitcode(), 42);
}

TEST(ForkServerFaults, KilledAtAnyMomentNoStartFails) {
  constexpr int rounds = 200;
  // One kill in each round, at any moment of it. So a start finds at most one server dead and loses
  // at most one more; three are too many.
  std::atomic<int> begun{0};
  std::atomic<int> killed{0};
  std::jthread killer([&] {
    std::minstd_rand random(11);
    for (int round = 1; round <= rounds; ++round) {
      begun.wait(round - 1);
      for (auto spins = random() % 200'000; spins > 0; --spins) mp::detail::spin_pause();
      if (const auto pid = mp::detail::forkserver_pid()) kill(*pid, SIGKILL);
      killed = round;
      killed.notify_one();
    }
  });
  int ended = 0;
  int refused = 0;
  std::set<pid_t> servers;
  for (int round = 1; round <= rounds; ++round) {
    begun = round;
    begun.notify_one();
    mp::Process p({.start_method = mp::StartMethod::forkserver}, nothing);
    try {
      p.start();
      if (const auto pid = mp::detail::forkserver_pid()) servers.insert(*pid);
      p.join();
      ended += p.exitcode() == 0 ? 1 : 0;
    } catch (const mp::RuntimeError&) {
      ++refused;
    }
    killed.wait(round - 1);
  }
  EXPECT_EQ(refused, 0);
  EXPECT_EQ(ended, rounds);
  EXPECT_GT(servers.size(), rounds / 4U);
}

// --- the end of the program ---

TEST_P(ProcessFaults, ADaemonThatIgnoresSigtermIsKilledAfterAGrace) {
  mp::detail::end_forkserver();
  Channel alive;
  Channel ready;
  mp::Process program(
      [](const Channel& held, const Channel& out) {
        mp::Process deaf(
            {.daemon = true},
            [](const Channel& h, const Channel& o) {
              signal(SIGTERM, SIG_IGN);
              live(h, o, Doing::waiting);
            },
            held, out);
        deaf.start();
        out.hear();
      },
      alive, ready);
  program.start();
  alive.stop_writing();
  program.join(20s);
  EXPECT_EQ(program.exitcode(), 0);
  EXPECT_TRUE(alive.ended(0s));
}

TEST_P(ProcessFaults, ADaemonThatMayNotBeSignalledDoesNotSpoilItsParentsEnd) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  mp::detail::end_forkserver();
  Channel alive;
  Channel ready;
  mp::Process program(
      [](const Channel& held, const Channel& out) {
        mp::Process roots({.daemon = true}, live, held, out, Doing::waiting);
        roots.start();
        out.hear();
        if (::setuid(65534) != 0) mp::exit(3);
      },
      alive, ready);
  program.start();
  alive.stop_writing();
  program.join(20s);
  EXPECT_EQ(program.exitcode(), 0);
  EXPECT_TRUE(alive.ended(20s));
}

TEST_P(ProcessFaults, ADaemonThatIgnoresSigtermDoesNotWaitForOtherChildren) {
  mp::detail::end_forkserver();
  Channel report;
  Channel end_program;
  Channel end_other;
  mp::Process program(
      [](const Channel& out, const Channel& end, const Channel& others_end) {
        mp::Process other([](const Channel& in) { in.hear(60s); }, others_end);
        other.start();
        mp::Process deaf(
            {.daemon = true},
            [](const Channel& o) {
              signal(SIGTERM, SIG_IGN);
              o.say(std::to_string(::getpid()));
              for (;;) ::pause();
            },
            out);
        deaf.start();
        end.hear();
      },
      report, end_program, end_other);
  program.start();
  const pid_t deaf = std::stoi(report.hear().value());
  end_program.say("end");
  EXPECT_TRUE(comes_true([&] { return is_gone(deaf); }));
  EXPECT_TRUE(program.is_alive());
  end_other.say("end");
  program.join(20s);
  EXPECT_EQ(program.exitcode(), 0);
}

TEST_P(ProcessFaults, ManyDaemonsThatIgnoreSigtermShareOneGrace) {
  constexpr int many = 5;
  mp::detail::end_forkserver();
  Channel alive;
  Channel ready;
  Channel go;
  mp::Process program(
      [](const Channel& held, const Channel& out, const Channel& in) {
        std::vector<mp::Process> deaf;
        for (int i = 0; i < many; ++i) {
          deaf.emplace_back(
                  mp::ProcessOptions{.daemon = true},
                  [](const Channel& h, const Channel& o) {
                    signal(SIGTERM, SIG_IGN);
                    live(h, o, Doing::waiting);
                  },
                  held, out)
              .start();
        }
        in.hear();
      },
      alive, ready, go);
  program.start();
  alive.stop_writing();
  for (int i = 0; i < many; ++i) ASSERT_EQ(ready.hear(), "ready");
  const auto before = std::chrono::steady_clock::now();
  go.say("end");
  program.join(20s);
  const auto took = std::chrono::steady_clock::now() - before;
  EXPECT_EQ(program.exitcode(), 0);
  EXPECT_TRUE(alive.ended(0s));
  EXPECT_GE(took, 900ms);
  EXPECT_LT(took, 3s);
}

// --- logging and forks ---

TEST(LoggingFaults, ForkingWhileAnotherThreadLogsNeverDeadlocks) {
  Forked program([] {
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDERR_FILENO);
    mp::log_to_stderr(mp::logging::debug);
    mp::log_to_file("/dev/null");
    std::atomic<bool> done{false};
    std::vector<std::jthread> loggers;
    for (int i = 0; i < 2; ++i) {
      loggers.emplace_back([&] {
        while (!done) mp::get_logger().info("a record of {} words and {}", 6, "text");
      });
    }
    int right = 0;
    for (int i = 0; i < 300; ++i) {
      mp::Process p({.start_method = mp::StartMethod::fork},
                    [] { mp::get_logger().info("from the child"); });
      p.start();
      p.join(10s);
      right += p.exitcode() == 0 ? 1 : 0;
      if (p.is_alive()) p.kill();
    }
    done = true;
    return right == 300 ? 0 : 1;
  });
  EXPECT_EQ(program.wait(), 0);
}

}  // namespace
