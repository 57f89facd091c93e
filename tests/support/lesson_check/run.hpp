#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "match.hpp"

namespace mp::test {

struct Command {
  std::filesystem::path program = {};
  std::vector<std::string> arguments = {};
  std::chrono::milliseconds deadline = std::chrono::seconds(20);
  /// How long what the program started may take to end after it.
  std::chrono::milliseconds grace = std::chrono::seconds(2);
  bool merge = false;  ///< stderr into stdout, in the order in which it was written.
};

/// A line and when, counted from the start, its end arrived.
struct TimedLine {
  std::string text = {};
  std::chrono::nanoseconds at = {};
};

/// What became of a program.
struct Outcome {
  std::vector<TimedLine> out = {};
  std::vector<TimedLine> err = {};
  pid_t pid = 0;
  int exit_code = 0;  ///< As Python has it: minus the signal's number.
  std::chrono::nanoseconds elapsed = {};
  bool timed_out = false;
  /// One sentence per process, file and shared memory that was there after the end and after the
  /// grace. They are gone now.
  std::vector<std::string> left_over = {};

  Output output() const;
};

/// Runs a program in a folder of its own, which is also its TMPDIR, and waits for it and all that
/// it started. At the deadline they are all killed. Throws std::system_error if it cannot start.
///
/// Waits for every child of the calling process, so that one must have no other children.
Outcome run(const Command& command);

}  // namespace mp::test
