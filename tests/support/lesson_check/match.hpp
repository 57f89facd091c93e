#pragma once

#include <string>
#include <vector>

#include "expectation.hpp"

namespace mp::test {

/// What a program printed, line by line.
struct Output {
  std::vector<std::string> out = {};
  std::vector<std::string> err = {};
};

/// Whether an expectation accepts an output, and if not, where the two part.
struct Verdict {
  bool accepted = false;
  std::string report = {};
};

/// Tries every way in which the lines can be those expected. Each line of the output has to be one
/// of the expected ones and each of these one of the output; only a gap takes lines without.
Verdict match(const Expectation& expected, const Output& output);

}  // namespace mp::test
