#include "match.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "solver.hpp"

namespace mp::test {
namespace {

std::string_view name_of(Channel channel) { return channel == Channel::out ? "stdout" : "stderr"; }

// Follows one channel as far as it can be understood, and describes the place where it ends.
class Explainer {
 public:
  Explainer(const Expectation& expected, const Output& output, Solver& solver)
      : expected_(expected), output_(output), solver_(solver) {}

  std::string report() {
    auto part = explain(Channel::out);
    if (part.empty()) part = explain(Channel::err);
    return part + "\n\nWhat it printed:\n" + listing(Channel::out) + listing(Channel::err);
  }

 private:
  const std::vector<std::string>& lines(Channel channel) const {
    return channel == Channel::out ? output_.out : output_.err;
  }

  // stderr is looked at only after stdout was understood as a whole, and has to fit its values.
  Solver::Parts parts(Channel channel, std::size_t count, bool complete) const {
    if (channel == Channel::out) return {.out = {count, complete}, .err = {}};
    return {.out = {output_.out.size(), true}, .err = {count, complete}};
  }

  std::string explain(Channel channel) {
    auto all = lines(channel).size();
    if (solver_.solve(parts(channel, all, true))) return {};
    // What fits so far also fits one line earlier: the last such place is found by halving.
    std::size_t good = 0;
    std::size_t bad = all + 1;
    while (bad - good > 1) {
      auto middle = good + (bad - good) / 2;
      (solver_.solve(parts(channel, middle, false)) ? good : bad) = middle;
    }
    auto best = solver_.solve(parts(channel, good, false));
    std::string text;
    if (good < all) {
      marked_ = {channel, good};
      text = fmt::format("{} line {} fits nowhere:\n    {}\n", name_of(channel), good + 1,
                         lines(channel)[good]);
    } else {
      text = fmt::format("{} ends too early.\n", name_of(channel));
    }
    return text + "Expected next:\n" + (best ? wanted(channel, *best) : std::string());
  }

  // The first line of each stream that has not come, unless a fence holds it back.
  std::string wanted(Channel channel, const Solver::Solution& so_far) const {
    std::set<std::string> seen;
    std::optional<std::size_t> section;
    std::string text;
    for (std::size_t i = 0; i < expected_.lines.size(); ++i) {
      const auto& line = expected_.lines[i];
      if (line.channel != channel || so_far.line[i] != Solver::not_yet) continue;
      if (!section) section = line.section;
      if (line.section > *section || !seen.insert(line.stream).second) continue;
      text += fmt::format("    {}    (line {} of the expectation", line.text, line.row);
      for (auto key : keys_in(line.pieces)) {
        if (!so_far.value[key]) continue;
        const auto& [kind, name] = expected_.keys[key];
        text += fmt::format(", <{}:{}> is {}", mp::test::name_of(kind), name, *so_far.value[key]);
      }
      text += ")\n";
    }
    return text.empty() ? "    the end\n" : text;
  }

  std::string listing(Channel channel) const {
    std::string text;
    for (std::size_t i = 0; i < lines(channel).size(); ++i) {
      bool marked = marked_ && marked_->first == channel && marked_->second == i;
      text += fmt::format("{} {} {:>3}  {}\n", marked ? "->" : "  ", name_of(channel), i + 1,
                          lines(channel)[i]);
    }
    return text.empty() ? fmt::format("   {} is empty\n", name_of(channel)) : text;
  }

  const Expectation& expected_;
  const Output& output_;
  Solver& solver_;
  std::optional<std::pair<Channel, std::size_t>> marked_;
};

}  // namespace

Verdict match(const Expectation& expected, const Output& output) {
  Solver solver(expected, output);
  if (solver.solve({.out = {output.out.size(), true}, .err = {output.err.size(), true}})) {
    return {.accepted = true};
  }
  Verdict verdict;
  if (solver.gave_up()) {
    verdict.report = "Too many ways to read this output: use keys, names or fences.\n";
  }
  verdict.report += Explainer(expected, output, solver).report();
  return verdict;
}

}  // namespace mp::test
