#pragma once

#include <string>

#include "run.hpp"

namespace mp::test {

/// An expectation that accepts exactly this run, up to its pids: where to start when one is written
/// or has changed. What may interleave has to be marked by hand.
///
/// `newest_pid` is the last pid that the system gave away; a number between the program's pid and
/// this one is taken for a pid.
std::string accepted(const Outcome& run, pid_t newest_pid);

/// The pid that the system gave away last.
pid_t newest_pid();

}  // namespace mp::test
