#include "solver.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace mp::test {
namespace {

constexpr int most_trials = 20000;

// Strikes the options for which `out` holds. False if none is left.
template <class Options, class Predicate>
bool strike(Options& options, bool& changed, Predicate out) {
  if (std::erase_if(options, out) > 0) changed = true;
  return !options.empty();
}

template <class Options>
std::pair<std::size_t, std::size_t> range_of(const Options& options) {
  auto [low, high] = std::minmax_element(options.begin(), options.end(),
                                         [](auto& a, auto& b) { return a.line < b.line; });
  return {low->line, high->line};
}

}  // namespace

Solver::Solver(const Expectation& expected, const Output& output) : expected_(expected) {
  for (const auto& line : expected.lines) keys_.push_back(keys_in(line.pieces));
  order_streams();
  order_sections();
  order_equals();
  place_gaps();
  all_ = options_for(output);
}

void Solver::order_streams() {
  std::map<std::pair<Channel, std::string>, std::vector<Var>> streams;
  for (Var var = 0; var < expected_.lines.size(); ++var) {
    const auto& line = expected_.lines[var];
    streams[{line.channel, line.stream}].push_back(var);
  }
  for (auto& [name, stream] : streams) {
    for (std::size_t i = 1; i < stream.size(); ++i) edges_.emplace_back(stream[i - 1], stream[i]);
    streams_.push_back(stream);
  }
}

// A fence orders each line above it before each line below it.
void Solver::order_sections() {
  for (Var first = 0; first < expected_.lines.size(); ++first) {
    for (Var second = 0; second < expected_.lines.size(); ++second) {
      const auto& a = expected_.lines[first];
      const auto& b = expected_.lines[second];
      if (a.channel == b.channel && a.section < b.section) edges_.emplace_back(first, second);
    }
  }
}

// Streams that read alike, up to keys of their own, can be exchanged in any solution. So one order
// of them is as good as every other, and only one needs to be looked at.
void Solver::order_equals() {
  std::map<std::string, Var> last_of;
  for (const auto& stream : streams_) {
    if (expected_.lines[stream.front()].stream.empty()) continue;
    auto text = canonical(stream);
    if (auto last = last_of.find(text); last != last_of.end()) {
      edges_.emplace_back(last->second, stream.front());
    }
    last_of[text] = stream.front();
  }
}

std::string Solver::canonical(const std::vector<Var>& stream) const {
  auto is_own = [&](std::size_t key) {
    for (Var var = 0; var < keys_.size(); ++var) {
      bool here = std::find(stream.begin(), stream.end(), var) != stream.end();
      if (!here && std::find(keys_[var].begin(), keys_[var].end(), key) != keys_[var].end()) {
        return false;
      }
    }
    return true;
  };
  std::string text;
  std::vector<std::size_t> own;
  for (auto var : stream) {
    const auto& line = expected_.lines[var];
    text += fmt::format("\n{} {} ", static_cast<int>(line.channel), line.section);
    for (const auto& piece : line.pieces) {
      if (!piece.kind) {
        text += escaped(piece.literal);
      } else if (!piece.key) {
        text += fmt::format("<{}>", name_of(*piece.kind));
      } else if (!is_own(*piece.key)) {
        text += fmt::format("<key {}>", *piece.key);
      } else {
        auto found = std::find(own.begin(), own.end(), *piece.key);
        text += fmt::format("<{} {}>", name_of(*piece.kind), found - own.begin());
        if (found == own.end()) own.push_back(*piece.key);
      }
    }
  }
  return text;
}

void Solver::place_gaps() {
  for (const auto& gap : expected_.gaps) {
    Room room{.channel = gap.channel};
    for (Var var = 0; var < expected_.lines.size(); ++var) {
      const auto& line = expected_.lines[var];
      if (line.channel != gap.channel) continue;
      bool main = line.stream.empty();
      bool above = line.section < gap.section || (main && var < gap.lines_before);
      bool below = line.section > gap.section || (main && var >= gap.lines_before);
      if (above) room.before.push_back(var);
      if (below) room.after.push_back(var);
    }
    rooms_.push_back(std::move(room));
  }
}

int Solver::value_id(const std::string& text) {
  auto [place, is_new] = value_ids_.emplace(text, static_cast<int>(values_.size()));
  if (is_new) values_.push_back(text);
  return place->second;
}

Solver::Domains Solver::options_for(const Output& output) {
  Domains domains;
  for (Var var = 0; var < expected_.lines.size(); ++var) {
    const auto& line = expected_.lines[var];
    const auto& lines = line.channel == Channel::out ? output.out : output.err;
    std::vector<Option> options;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      for (const auto& way : ways_to_fit(line.pieces, lines[i])) {
        Option option{.line = i};
        for (const auto& value : way) option.values.push_back(value_id(value));
        options.push_back(std::move(option));
      }
    }
    domains.push_back(std::move(options));
  }
  // Two keys of one line, one value: never a solution where keys must differ.
  for (Var var = 0; var < domains.size(); ++var) {
    std::erase_if(domains[var], [&](const Option& option) {
      for (std::size_t i = 0; i < option.values.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
          const Key& a = expected_.keys[keys_[var][i]];
          const Key& b = expected_.keys[keys_[var][j]];
          if (option.values[i] == option.values[j] && a.kind == b.kind && keys_differ(a.kind)) {
            return true;
          }
        }
      }
      return false;
    });
  }
  return domains;
}

const Solver::Part& Solver::part_of(Var var) const {
  return expected_.lines[var].channel == Channel::out ? parts_.out : parts_.err;
}

Solver::Domains Solver::restricted() const {
  Domains domains = all_;
  for (Var var = 0; var < domains.size(); ++var) {
    const Part& part = part_of(var);
    std::erase_if(domains[var], [&](const Option& option) { return option.line >= part.lines; });
    if (!part.complete) domains[var].push_back({.line = not_yet});
  }
  return domains;
}

std::optional<Solver::Solution> Solver::solve(Parts parts) {
  parts_ = parts;
  trials_ = 0;
  Solution solution;
  if (!search(restricted(), solution)) return std::nullopt;
  return solution;
}

bool Solver::search(Domains domains, Solution& solution) {
  if (!narrow(domains)) return false;
  std::size_t smallest = not_yet;
  Var chosen = 0;
  for (Var var = 0; var < domains.size(); ++var) {
    if (domains[var].size() > 1 && domains[var].size() < smallest) {
      smallest = domains[var].size();
      chosen = var;
    }
  }
  if (smallest == not_yet) {
    note(domains, solution);
    return true;
  }
  for (const auto& option : domains[chosen]) {
    if (++trials_ > most_trials) {
      gave_up_ = true;
      return false;
    }
    Domains next = domains;
    next[chosen] = {option};
    if (search(std::move(next), solution)) return true;
  }
  return false;
}

void Solver::note(const Domains& domains, Solution& solution) const {
  solution.value.resize(expected_.keys.size());
  for (Var var = 0; var < domains.size(); ++var) {
    const Option& option = domains[var].front();
    solution.line.push_back(option.line);
    for (std::size_t i = 0; i < option.values.size(); ++i) {
      solution.value[keys_[var][i]] = values_[static_cast<std::size_t>(option.values[i])];
    }
  }
}

bool Solver::narrow(Domains& domains) const {
  for (const auto& options : domains) {
    if (options.empty()) return false;
  }
  for (bool changed = true; changed;) {
    changed = false;
    if (!narrow_by_order(domains, changed)) return false;
    if (!narrow_by_values(domains, changed)) return false;
    if (!narrow_by_lines(domains, changed)) return false;
  }
  return true;
}

// Down the edges for what is too early, up again for what is too late: a long stream needs one
// round then and not one for each of its lines.
bool Solver::narrow_by_order(Domains& domains, bool& changed) const {
  for (auto [first, second] : edges_) {
    auto earliest = range_of(domains[first]).first;
    bool alive = strike(domains[second], changed, [&](const Option& option) {
      return option.line <= earliest && option.line != not_yet;
    });
    if (!alive) return false;
  }
  for (auto edge = edges_.rbegin(); edge != edges_.rend(); ++edge) {
    auto latest = range_of(domains[edge->second]).second;
    bool alive = strike(domains[edge->first], changed, [&](const Option& option) {
      return option.line >= latest && latest != not_yet;
    });
    if (!alive) return false;
  }
  return true;
}

// A key has one value: what one line that is sure to come cannot give it, no other line may. And a
// value that is sure to be one key's is not another's.
bool Solver::narrow_by_values(Domains& domains, bool& changed) const {
  std::vector<std::optional<std::set<int>>> possible(expected_.keys.size());
  for (Var var = 0; var < domains.size(); ++var) {
    const auto& options = domains[var];
    if (options.back().line == not_yet) continue;
    for (std::size_t i = 0; i < keys_[var].size(); ++i) {
      auto& known = possible[keys_[var][i]];
      std::set<int> here;
      for (const auto& option : options) {
        if (!known || known->contains(option.values[i])) here.insert(option.values[i]);
      }
      known = std::move(here);
    }
  }
  for (std::size_t sure = 0; sure < possible.size(); ++sure) {
    const Key& key = expected_.keys[sure];
    if (!possible[sure] || possible[sure]->size() != 1 || !keys_differ(key.kind)) continue;
    for (std::size_t other = 0; other < possible.size(); ++other) {
      if (other != sure && expected_.keys[other].kind == key.kind && possible[other]) {
        possible[other]->erase(*possible[sure]->begin());
      }
    }
  }
  for (Var var = 0; var < domains.size(); ++var) {
    bool alive = strike(domains[var], changed, [&](const Option& option) {
      for (std::size_t i = 0; i < option.values.size(); ++i) {
        const auto& known = possible[keys_[var][i]];
        if (known && !known->contains(option.values[i])) return true;
      }
      return false;
    });
    if (!alive) return false;
  }
  return true;
}

bool Solver::narrow_by_lines(Domains& domains, bool& changed) const {
  return narrow_channel(domains, Channel::out, changed) &&
         narrow_channel(domains, Channel::err, changed);
}

bool Solver::narrow_channel(Domains& domains, Channel channel, bool& changed) const {
  auto lines = channel == Channel::out ? parts_.out.lines : parts_.err.lines;
  std::vector<std::set<Var>> takers(lines);
  for (Var var = 0; var < domains.size(); ++var) {
    if (expected_.lines[var].channel != channel) continue;
    const auto range = range_of(domains[var]);
    for (const auto& option : domains[var]) {
      if (option.line != not_yet) takers[option.line].insert(var);
    }
    if (range.first != range.second || range.first == not_yet) continue;
    // This line is taken: nobody else's any more.
    for (Var other = 0; other < domains.size(); ++other) {
      if (other == var || expected_.lines[other].channel != channel) continue;
      bool alive = strike(domains[other], changed,
                          [&](const Option& option) { return option.line == range.first; });
      if (!alive) return false;
    }
  }
  for (std::size_t line = 0; line < lines; ++line) {
    if (takers[line].size() > 1 || may_be_unexpected(domains, channel, line)) continue;
    if (takers[line].empty()) return false;
    bool alive = strike(domains[*takers[line].begin()], changed,
                        [&](const Option& option) { return option.line != line; });
    if (!alive) return false;
  }
  return true;
}

bool Solver::may_be_unexpected(const Domains& domains, Channel channel, std::size_t line) const {
  return std::any_of(rooms_.begin(), rooms_.end(), [&](const Room& room) {
    return room.channel == channel &&
           std::all_of(room.before.begin(), room.before.end(),
                       [&](Var var) { return range_of(domains[var]).first < line; }) &&
           std::all_of(room.after.begin(), room.after.end(),
                       [&](Var var) { return range_of(domains[var]).second > line; });
  });
}

}  // namespace mp::test
