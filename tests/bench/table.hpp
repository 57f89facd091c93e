#pragma once

// What `compare` shows and writes.

#include <iosfwd>
#include <map>
#include <string>
#include <vector>

#include "row.hpp"
#include "sample.hpp"

namespace bench {

/// Under what the figures were taken.
struct Setup {
  std::string processor;
  std::string cores;
  std::string kernel;
  std::string compiler;
  std::string python;
  std::string wake_up;  ///< How libmp waits here.
  std::string effort;
};

Setup describe_setup(std::string effort);

/// A row's medians.
struct Figures {
  const Row* row;
  std::map<std::string, Median> medians;  ///< By contender; without those that failed.
};

/// Of at least one.
Median median(std::vector<Sample> samples);

/// How far `figures` are with a reach: the ratio that it is about.
struct Verdict {
  double ratio;
  bool reached;
};
/// Empty if one of the two has no figure.
std::optional<Verdict> judge(const Reach& reach, const Figures& figures);

void print_setup(std::ostream& out, const Setup& setup);
void print_head(std::ostream& out);
void print_row(std::ostream& out, const Figures& figures);
void write_json(std::ostream& out, const Setup& setup, const std::vector<Figures>& all);

}  // namespace bench
