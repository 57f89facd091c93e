#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "forked.hpp"
#include "process_state.hpp"

namespace {

bool is_closed(int fd) { return fcntl(fd, F_GETFD) < 0 && errno == EBADF; }

// Else the other end would not see that one of them has closed.
TEST(ControlSocketsTest, AForkedChildKeepsNeither) {
  const auto sockets = mp::detail::control_sockets();
  mp::test::Forked child(
      [&] { return is_closed(sockets.first.get()) && is_closed(sockets.second.get()) ? 0 : 1; });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_FALSE(is_closed(sockets.first.get()) || is_closed(sockets.second.get()));
}

}  // namespace
