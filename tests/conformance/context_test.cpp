// What CPython's own suite checks of start methods and the fork server, one test an id.

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include <mp/context.hpp>
#include <mp/detail/forkserver.hpp>
#include <mp/process.hpp>

#include "channel.hpp"
#include "forked.hpp"

namespace {

using mp::test::Channel;
using mp::test::Forked;

void nothing() {}

TEST(ContextConformance, context__set_get) {
  for (const auto method : mp::get_all_start_methods()) {
    mp::set_start_method(method, true);
    EXPECT_EQ(mp::get_start_method(), method);
    Channel report;
    mp::Process p(
        [](const Channel& out) { out.say(std::string(to_string(mp::get_start_method()))); },
        report);
    p.start();
    EXPECT_EQ(report.hear(), to_string(method));
    p.join();
  }
  mp::set_start_method(mp::StartMethod::fork, true);
}

std::string preloaded;  // NOLINT: set in the server, read in its children.
void preload() { preloaded = "by the server"; }

TEST(ContextConformance, forkserver__preload_with_lock) {
  mp::detail::end_forkserver();
  mp::set_forkserver_preload({&preload});
  Channel report;
  mp::Process p(
      {.start_method = mp::StartMethod::forkserver}, [](const Channel& out) { out.say(preloaded); },
      report);
  p.start();
  EXPECT_EQ(report.hear(), "by the server");
  p.join();
  mp::set_forkserver_preload({});
  mp::detail::end_forkserver();
}

// The list is typed: what is no function does not compile.
TEST(ContextConformance, context__preload_type_check) {
  static_assert(std::is_invocable_v<decltype(mp::set_forkserver_preload), std::vector<void (*)()>>);
  static_assert(!std::is_invocable_v<decltype(mp::set_forkserver_preload), std::vector<int>>);
}

TEST(ContextConformance, process__forkserver_survives_sigint) {
  Channel report;
  Channel gate;
  mp::Process first(
      {.daemon = true, .start_method = mp::StartMethod::forkserver},
      [](const Channel& out, const Channel& in) {
        in.wait_for_end();
        out.say("first");
      },
      report, gate);
  first.start();
  const auto server = mp::detail::forkserver_pid();
  ASSERT_TRUE(server);
  kill(*server, SIGINT);
  mp::Process second({.start_method = mp::StartMethod::forkserver}, nothing);
  second.start();
  second.join();
  EXPECT_EQ(second.exitcode(), 0);
  EXPECT_EQ(mp::detail::forkserver_pid(), server);
  gate.stop_writing();
  EXPECT_EQ(report.hear(), "first");
  first.join();
  EXPECT_EQ(first.exitcode(), 0);
}

// The server's socket is one end of a pair that no name leads to and no other
// process holds: there is no key to be wrong, and nothing to connect to.
TEST(ContextConformance, process__forkserver_auth_enabled) {
  mp::Process p({.start_method = mp::StartMethod::forkserver}, nothing);
  p.start();
  p.join();
  EXPECT_EQ(p.exitcode(), 0);
  std::ifstream sockets("/proc/net/unix");
  const std::string all{std::istreambuf_iterator<char>(sockets), {}};
  for (const auto& entry : std::filesystem::directory_iterator(
           fmt::format("/proc/{}/fd", *mp::detail::forkserver_pid()))) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry, gone).string();
    if (!target.starts_with("socket:[")) continue;
    const auto inode = target.substr(8, target.size() - 9);
    const auto at = all.find(' ' + inode);
    ASSERT_NE(at, std::string::npos);
    EXPECT_EQ(all[at + inode.size() + 1], '\n') << "a socket of the server has a name";
  }
}

TEST(ContextConformance, process__forkserver_wrong_key_refused) {
  mp::Process p({.start_method = mp::StartMethod::forkserver}, nothing);
  p.start();
  p.join();
  // Another process, here a forked child, has not kept the program's end.
  Forked other([] { return mp::detail::forkserver_pid() ? 1 : 0; });
  EXPECT_EQ(other.wait(), 0);
  mp::Process next({.start_method = mp::StartMethod::forkserver}, nothing);
  next.start();
  next.join();
  EXPECT_EQ(next.exitcode(), 0);
}

}  // namespace
