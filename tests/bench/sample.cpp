#include "sample.hpp"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <string_view>

#include <fmt/format.h>

#include "raw.hpp"

extern char** environ;

namespace bench {

namespace {

using namespace std::chrono_literals;

// A sample that takes longer than this hangs.
constexpr auto patience = 120s;

double cpu_ns_so_far() {
  double total = 0;
  for (const auto who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    check(::getrusage(who, &usage), "getrusage");
    for (const timeval& part : {usage.ru_utime, usage.ru_stime}) {
      total += static_cast<double>(part.tv_sec) * 1e9 + static_cast<double>(part.tv_usec) * 1e3;
    }
  }
  return total;
}

Sample run_once(const Run& run, std::size_t count) {
  const double before = cpu_ns_so_far();
  const Timing timing = run(count);
  return {timing.ns, (cpu_ns_so_far() - before) / static_cast<double>(count), timing.p99};
}

// The group of the sample that is running, for whoever interrupts.
volatile std::sig_atomic_t running_group = 0;

void on_interrupt(int) {
  if (running_group != 0) ::kill(-static_cast<pid_t>(running_group), SIGKILL);
  ::_exit(128 + SIGINT);
}

// Runs a program in a process group of its own, whose members end with it.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) : output_(FdPair::pipe()) {
    ::signal(SIGINT, on_interrupt);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, output_.write, STDOUT_FILENO);
    ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const int error = ::posix_spawn(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw SampleFailed(fmt::format("cannot run {}: error {}", argv[0], error));
    running_group = pid_;
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    ::kill(-pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    running_group = 0;
  }

  // All that it printed, once it and its children have ended; empty if they
  // did not.
  std::string output() {
    output_.close_write();
    std::string text;
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
      pollfd entry{output_.read, POLLIN, 0};
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0 || ::poll(&entry, 1, static_cast<int>(left.count())) <= 0) return {};
      std::array<char, 256> part{};
      const auto size = check(::read(output_.read, part.data(), part.size()), "read");
      if (size == 0) return text;
      text.append(part.data(), static_cast<std::size_t>(size));
    }
  }

 private:
  FdPair output_;
  pid_t pid_ = 0;
};

Sample parse(const std::string& line) {
  std::istringstream in(line);
  Sample sample;
  if (!(in >> sample.ns >> sample.cpu_ns)) throw SampleFailed("no figure, but: " + line);
  if (double p99 = 0; in >> p99) sample.p99 = p99;
  return sample;
}

}  // namespace

Sample measure(const Contender& contender, const Effort& effort) {
  if (effort.count) return run_once(contender.run, *effort.count);
  constexpr std::size_t most_growth = 100;
  const double budget = static_cast<double>(effort.budget.count());
  std::size_t count = 1;
  Sample sample = run_once(contender.run, count);
  // Outside its timing a run may take long, too: the clock has the last word.
  const Stopwatch all;
  for (;;) {
    const double wanted = budget / std::max(sample.ns, 0.1);
    const auto most = static_cast<double>(count * most_growth);
    const bool last = wanted < most;
    count = std::max<std::size_t>(1, static_cast<std::size_t>(std::min(wanted, most)));
    sample = run_once(contender.run, count);
    const double took = sample.ns * static_cast<double>(count);
    if ((last && took > budget / 2) || all.ns() > 2 * budget) return sample;
  }
}

Sample sample_in_fresh_process(const Row& row, const Contender& contender, const Effort& effort) {
  const double budget_ms = std::chrono::duration<double, std::milli>(effort.budget).count();
  std::vector<std::string> arguments =
      contender.run
          ? std::vector<std::string>{"/proc/self/exe", "--sample", row.name, "--contender",
                                     contender.name}
          : std::vector<std::string>{MP_BENCH_PYTHON, MP_BENCH_SCRIPTS "/sample.py", row.name};
  arguments.insert(arguments.end(), {"--budget-ms", fmt::format("{:.3f}", budget_ms)});
  if (effort.count) arguments.insert(arguments.end(), {"--count", std::to_string(*effort.count)});
  Program program(std::move(arguments));
  const std::string line = program.output();
  if (line.empty()) throw SampleFailed(row.name + ": " + contender.name + " gave no figure");
  return parse(line);
}

std::string to_line(const Sample& sample) {
  std::string line = fmt::format("{:.4f} {:.4f}", sample.ns, sample.cpu_ns);
  if (sample.p99) line += fmt::format(" {:.4f}", *sample.p99);
  return line + '\n';
}

}  // namespace bench
