#include <gtest/gtest.h>

#include <csignal>

#include <mp/context.hpp>
#include <mp/detail/forkserver.hpp>
#include <mp/detail/heap.hpp>
#include <mp/process.hpp>

#include "leftovers.hpp"
#include "process_state.hpp"

int main(int argc, char** argv) {
  // Whoever runs the tests in the background may have had SIGINT ignored; children inherit that.
  std::signal(SIGINT, SIG_DFL);
  // A child under spawn or forkserver executes this program and goes no further than this line.
  mp::freeze_support();
  testing::InitGoogleTest(&argc, argv);
  // Opened with the first daemon and kept: not what a test leaves over.
  (void)mp::detail::lifeline();
  mp::test::before_counting_leftovers(mp::detail::end_forkserver);
  mp::test::before_counting_leftovers(mp::detail::heap_trim);
  // What a process keeps for life, such as the pipe that its daemons watch, is there before the
  // first test counts.
  mp::Process daemon({.daemon = true});
  daemon.start();
  daemon.join();
  daemon.close();
  mp::test::before_counting_leftovers(mp::detail::end_forkserver);
  testing::UnitTest::GetInstance()->listeners().Append(new mp::test::LeftoversListener);
  return RUN_ALL_TESTS();
}
