#pragma once

// One figure of one contender, taken in a process that did nothing before.

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>

#include "row.hpp"

namespace bench {

struct Sample {
  double ns = 0;      ///< Per operation.
  double cpu_ns = 0;  ///< Of all its processes together, per operation.
  std::optional<double> p99 = {};
};

/// What several samples came to: the median of each figure by itself.
struct Median : Sample {
  double worst_ns = 0;
  std::size_t samples = 0;
};

class SampleFailed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// How much to do for one sample.
struct Effort {
  std::chrono::nanoseconds budget;        ///< The time that is there for a run.
  std::optional<std::size_t> count = {};  ///< Set: exactly so many operations instead.
};

/// Runs the contender here. Without a count: as many operations as take about
/// the budget, found by trying, after a first one that warms up.
Sample measure(const Contender& contender, const Effort& effort);

/// Runs this program afresh for one sample, or Python for CPython's. Throws
/// SampleFailed if that fails or takes longer than any sample should.
Sample sample_in_fresh_process(const Row& row, const Contender& contender, const Effort& effort);

/// What such a process prints: "NS CPU_NS [P99]".
std::string to_line(const Sample& sample);

}  // namespace bench
