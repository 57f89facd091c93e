// libmp beside the kernel's own calls, CPython and the best of its rivals:
// every figure is taken in a process of its own, in turns, several times.

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <regex>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "mp/context.hpp"
#include "raw.hpp"
#include "row.hpp"
#include "sample.hpp"
#include "table.hpp"

namespace {

using namespace bench;
using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds full_budget = 300ms;
constexpr int full_rounds = 7;
constexpr int quick_rounds = 3;
constexpr std::chrono::nanoseconds quick_total = 50s;
constexpr std::chrono::nanoseconds quick_least = 15ms;
constexpr std::chrono::nanoseconds quick_most = 150ms;

struct Options {
  std::string rows = ".";
  bool quick = false;
  bool one_core = false;
  bool realtime = false;
  bool list = false;
  int rounds = 0;
  std::string json;
  std::string sample;
  std::string contender;
  double budget_ms = 0;
  std::size_t count = 0;
};

void define(CLI::App& app, Options& options) {
  app.add_option("--rows", options.rows, "Only rows whose names hold a match of this expression.");
  app.add_flag("--quick", options.quick, "The whole table in less than a minute, roughly.");
  app.add_flag("--one-core", options.one_core, "Everything on core 0.");
  app.add_flag("--realtime", options.realtime,
               "Before all others that want the processors: for a machine that is not idle.");
  app.add_flag("--list", options.list, "Say what the rows are, and run nothing.");
  app.add_option("--rounds", options.rounds, "Samples of each contender.")
      ->check(CLI::PositiveNumber);
  app.add_option("--json", options.json, "Write the figures to this file.");
  // What compare tells itself when it takes a sample.
  app.add_option("--sample", options.sample)->group("");
  app.add_option("--contender", options.contender)->group("");
  app.add_option("--budget-ms", options.budget_ms)->group("");
  app.add_option("--count", options.count)->group("");
}

int take_sample(const Options& options) {
  for (const auto& row : all_rows()) {
    if (row.name != options.sample) continue;
    for (const auto& contender : row.contenders) {
      if (contender.name != options.contender) continue;
      const auto budget = std::chrono::duration<double, std::milli>(options.budget_ms);
      Effort effort{std::chrono::duration_cast<std::chrono::nanoseconds>(budget)};
      if (options.count != 0) effort.count = options.count;
      const std::string line = to_line(measure(contender, effort));
      write_fully(STDOUT_FILENO, line.data(), line.size());
      return 0;
    }
  }
  std::cerr << "no such row or contender\n";
  return 2;
}

void list(const std::vector<Row>& rows) {
  for (const auto& row : rows) {
    std::cout << row.name << ": " << row.operation << '\n';
    for (const auto& contender : row.contenders) {
      std::cout << fmt::format("    {:<22}{}\n", contender.name, contender.what);
    }
  }
}

// Shares a total of time out among the samples that are still to come.
class Budget {
 public:
  Budget(bool quick, std::size_t samples) : quick_(quick), samples_(samples) {}

  // Whether there is time for another round of this row: of so many rows, so
  // many were done before it.
  [[nodiscard]] bool allows_more(std::size_t done, std::size_t rows) const {
    return !quick_ || clock_.ns() * static_cast<double>(rows) <
                          static_cast<double>(quick_total.count()) * static_cast<double>(done + 1);
  }

  Effort next(const Row& row) {
    Effort effort{full_budget};
    if (row.count) effort.count = quick_ ? row.count->quick : row.count->full;
    if (quick_) {
      // What a sample takes beside its budget is learnt on the way.
      const auto spent = std::chrono::nanoseconds(static_cast<long>(clock_.ns()));
      const auto share =
          (quick_total - spent) / static_cast<long>(std::max<std::size_t>(samples_, 1));
      const auto beside = taken_ == 0 ? 0ns : (spent - given_) / taken_;
      effort.budget =
          std::clamp<std::chrono::nanoseconds>((share - beside) / 2, quick_least, quick_most);
      given_ += effort.budget;
    }
    ++taken_;
    --samples_;
    return effort;
  }

 private:
  bool quick_;
  std::size_t samples_;
  Stopwatch clock_;
  long taken_ = 0;
  std::chrono::nanoseconds given_ = 0ns;
};

// Alternating, each round beginning with another contender, so that what the
// machine does beside hits all alike.
Figures compare(const Row& row, int rounds, const std::function<bool()>& more, Budget& budget,
                bool& failed) {
  std::map<std::string, std::vector<Sample>> samples;
  const std::size_t size = row.contenders.size();
  for (int round = 0; round < rounds && (round == 0 || more()); ++round) {
    for (std::size_t i = 0; i < size; ++i) {
      const Contender& contender = row.contenders[(i + static_cast<std::size_t>(round)) % size];
      try {
        samples[contender.name].push_back(
            sample_in_fresh_process(row, contender, budget.next(row)));
      } catch (const SampleFailed& error) {
        std::cerr << error.what() << '\n';
        failed = true;
      }
    }
  }
  Figures figures{&row, {}};
  for (auto& [name, list] : samples) {
    if (!list.empty()) figures.medians[name] = median(list);
  }
  return figures;
}

void use_core_0() {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(0, &set);
  check(::sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
}

// Everything that compare starts inherits this.
void run_before_others() {
  sched_param priority{};
  priority.sched_priority = 1;
  check(::sched_setscheduler(0, SCHED_FIFO, &priority), "sched_setscheduler");
}

int compare_all(const Options& options) {
  std::vector<Row> rows = all_rows();
  const std::regex wanted(options.rows);
  std::erase_if(rows, [&](const Row& row) { return !std::regex_search(row.name, wanted); });
  if (rows.empty()) {
    std::cerr << "no row matches " << options.rows << '\n';
    return 2;
  }
  if (options.list) {
    list(rows);
    return 0;
  }
  if (options.one_core) use_core_0();
  if (options.realtime) run_before_others();
  const int rounds = options.rounds > 0 ? options.rounds
                     : options.quick    ? quick_rounds
                                        : full_rounds;
  std::size_t samples = 0;
  for (const auto& row : rows) samples += row.contenders.size() * static_cast<std::size_t>(rounds);
  Budget budget(options.quick, samples);

  const Setup setup = describe_setup(fmt::format("medians of {}{}{}", options.quick ? "up to " : "",
                                                 rounds, options.realtime ? ", realtime" : ""));
  print_setup(std::cout, setup);
  print_head(std::cout);
  std::vector<Figures> all;
  bool failed = false;
  for (const auto& row : rows) {
    const auto more = [&] { return budget.allows_more(all.size(), rows.size()); };
    all.push_back(compare(row, rounds, more, budget, failed));
    print_row(std::cout, all.back());
  }
  if (!options.json.empty()) {
    std::ofstream file(options.json);
    write_json(file, setup, all);
    file.close();
    if (!file) {
      std::cerr << "cannot write " << options.json << '\n';
      return 1;
    }
  }
  return failed ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  // The floor of the rows that execute this program: it does nothing.
  if (argc > 1 && std::strcmp(argv[1], bench::leave_at_once) == 0) ::_exit(0);
  mp::freeze_support();
  CLI::App app("libmp beside the kernel's own calls, CPython and its rivals");
  Options options;
  define(app, options);
  CLI11_PARSE(app, argc, argv);
  try {
    return options.sample.empty() ? compare_all(options) : take_sample(options);
  } catch (const std::exception& error) {
    std::cerr << "compare: " << error.what() << '\n';
    return 1;
  }
}
