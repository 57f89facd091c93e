#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>

#include <mp/context.hpp>
#include <mp/process.hpp>

#include "forked.hpp"

namespace mp::test {

/// The same test under fork, spawn and forkserver: GetParam() is the method,
/// and the default while the test runs.
class EachMethod : public testing::TestWithParam<StartMethod> {
 protected:
  void SetUp() override { set_start_method(GetParam(), true); }
  void TearDown() override { set_start_method(StartMethod::fork, true); }

  /// A child that has started, a daemon: a test that fails leaves none behind.
  template <class Target, class... Args>
  Process start(Target target, Args&&... args) {
    Process process({.daemon = true}, target, std::forward<Args>(args)...);
    process.start();
    return process;
  }
};

/// Its exit code; empty when it outlived the patience, and is killed then.
inline std::optional<int> ended(Process& process) {
  process.join(patience);
  const auto code = process.exitcode();
  if (!code) {
    process.kill();
    process.join();
  }
  return code;
}

/// Ends it as a crash would, and reaps it.
inline void crash(Process& process) {
  process.kill();
  process.join();
}

inline std::string method_name(const testing::TestParamInfo<StartMethod>& info) {
  return std::string(to_string(info.param));
}

}  // namespace mp::test

#define MP_TEST_EACH_METHOD(suite)                                                                 \
  INSTANTIATE_TEST_SUITE_P(                                                                        \
      Each, suite,                                                                                 \
      testing::Values(mp::StartMethod::fork, mp::StartMethod::spawn, mp::StartMethod::forkserver), \
      mp::test::method_name)
