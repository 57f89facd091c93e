#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "expectation.hpp"
#include "match.hpp"

namespace mp::test {

/// Finds which line of an output is which line of an expectation.
///
/// Each expected line has a list of options: a line of the output that it fits, and the values that
/// its keys would then have. Narrowing strikes out options that cannot be part of any solution (by
/// order, by values, because every line is wanted exactly once); where that does not decide, the
/// solver tries. Narrowing first is what keeps twenty workers that print alike from being 20!
/// cases.
class Solver {
 public:
  /// The option of a line that has not come yet.
  static constexpr std::size_t not_yet = std::numeric_limits<std::size_t>::max();

  /// How much of a channel's output there is, and whether everything expected must be in it.
  struct Part {
    std::size_t lines = 0;
    bool complete = false;
  };
  struct Parts {
    Part out = {};
    Part err = {};
  };

  struct Solution {
    std::vector<std::size_t> line = {};                  ///< Per expected line; may be not_yet.
    std::vector<std::optional<std::string>> value = {};  ///< Per key, if it is known.
  };

  Solver(const Expectation& expected, const Output& output);

  /// Empty if there is none, or if it was not found in a reasonable number of trials.
  std::optional<Solution> solve(Parts parts);

  /// Whether a search was given up, so that "none" may be wrong.
  bool gave_up() const { return gave_up_; }

 private:
  using Var = std::size_t;
  struct Option {
    std::size_t line = 0;
    std::vector<int> values = {};
  };
  using Domains = std::vector<std::vector<Option>>;
  /// Lines that no one expects may stand after all of `before` and before all of `after`.
  struct Room {
    Channel channel = Channel::out;
    std::vector<Var> before = {};
    std::vector<Var> after = {};
  };

  void order_streams();
  void order_sections();
  void order_equals();
  void place_gaps();
  std::string canonical(const std::vector<Var>& stream) const;
  int value_id(const std::string& text);

  const Part& part_of(Var var) const;
  Domains options_for(const Output& output);
  Domains restricted() const;

  bool narrow(Domains& domains) const;
  bool narrow_by_order(Domains& domains, bool& changed) const;
  bool narrow_by_values(Domains& domains, bool& changed) const;
  bool narrow_by_lines(Domains& domains, bool& changed) const;
  bool narrow_channel(Domains& domains, Channel channel, bool& changed) const;
  bool may_be_unexpected(const Domains& domains, Channel channel, std::size_t line) const;
  bool search(Domains domains, Solution& solution);
  void note(const Domains& domains, Solution& solution) const;

  const Expectation& expected_;
  std::vector<std::vector<std::size_t>> keys_;  // per expected line
  std::vector<std::vector<Var>> streams_;       // expected lines by stream, main ones first
  std::vector<std::pair<Var, Var>> edges_;      // the first must come before the second
  std::vector<Room> rooms_;
  std::vector<std::string> values_;
  std::map<std::string, int> value_ids_;
  Domains all_;
  Parts parts_;
  int trials_ = 0;
  bool gave_up_ = false;
};

}  // namespace mp::test
