// Who died of what; and seeing to it that nothing of a worker stays alive.

#include "worker_death.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <thread>
#include <vector>

#include "process_state.hpp"

namespace mp {

namespace {

std::string died_of(const WorkerDeath& death) {
  if (death.exitcode >= 0) return fmt::format("exited with code {}", death.exitcode);
  const char* name = ::sigabbrev_np(-death.exitcode);
  std::string text = name != nullptr ? fmt::format("was killed by SIG{}", name)
                                     : fmt::format("was killed by signal {}", -death.exitcode);
  if (death.core_dumped) text += " (core dumped)";
  return text;
}

std::string sentence_of(const WorkerDeath& death) {
  std::string text = detail::death_sentence(death);
  text += fmt::format(" while it ran task {}", death.task);
  if (death.item != 0) text += fmt::format(", item {}", death.item);
  if (!death.function.empty()) text += fmt::format(", {}", death.function);
  text += fmt::format(", for {:.3f} s", std::chrono::duration<double>(death.ran).count());
  if (death.peak_rss != 0) text += fmt::format("; peak memory {} MiB", death.peak_rss >> 20U);
  if (death.out_of_memory) text += "; probably out of memory";
  return text;
}

}  // namespace

WorkerDied::WorkerDied(WorkerDeath death)
    : BrokenProcessPool(sentence_of(death)), death_(std::move(death)) {}

std::string WorkerDied::signal() const {
  if (death_.exitcode >= 0) return {};
  const char* name = ::sigabbrev_np(-death_.exitcode);
  return name != nullptr ? std::string("SIG") + name : fmt::format("{}", -death_.exitcode);
}

namespace detail {

WorkerDeath describe_death(const Process& process) {
  const ProcessState& state = *ProcessAccess::state(process);
  WorkerDeath death;
  death.worker = process.name();
  death.pid = state.pid;
  death.exitcode = process.exitcode().value_or(255);
  const std::lock_guard guard(state.mutex);
  death.core_dumped = state.core_dumped;
  death.peak_rss = state.peak_rss;
  return death;
}

std::string death_sentence(const WorkerDeath& death) {
  return fmt::format("{} (pid {}) {}", death.worker, death.pid, died_of(death));
}

// --- out of memory -----------------------------------------------------------

namespace {

// The number after "oom_kill" in a control group's file, of either version, or
// in the system's.
std::optional<std::uint64_t> count_in(const std::string& path) {
  std::ifstream file(path);
  std::string key;
  std::uint64_t value = 0;
  while (file >> key >> value) {
    if (key == "oom_kill") return value;
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t out_of_memory_kills() {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const auto colon = line.rfind(':');
    if (colon == std::string::npos) continue;
    const std::string group = line.substr(colon + 1);
    std::optional<std::uint64_t> kills;
    if (line.starts_with("0::")) {
      kills = count_in("/sys/fs/cgroup" + group + "/memory.events");
    } else if (line.find(":memory:") != std::string::npos) {
      kills = count_in("/sys/fs/cgroup/memory" + group + "/memory.oom_control");
    }
    if (kills) return *kills;
  }
  return count_in("/proc/vmstat").value_or(0);
}

// --- killing all of a worker ---------------------------------------------------

namespace {

struct Relative {
  pid_t pid;
  pid_t parent;
  char state;
};

std::optional<Relative> look_at(const std::filesystem::path& process) {
  std::ifstream file(process / "stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  std::istringstream rest(line.substr(std::min(line.size(), line.rfind(')') + 1)));
  Relative one{};
  if (!(rest >> one.state >> one.parent)) return std::nullopt;
  return one;
}

std::vector<Relative> all_processes() {
  std::vector<Relative> all;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", gone)) {
    const std::string name = entry.path().filename().string();
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    if (auto one = look_at(entry.path())) {
      one->pid = pid;
      all.push_back(*one);
    }
  }
  return all;
}

// Descendants of `root` that can still run.
std::vector<pid_t> living_descendants(pid_t root) {
  const auto all = all_processes();
  std::vector<pid_t> family{root};
  std::vector<pid_t> living;
  for (std::size_t i = 0; i < family.size(); ++i) {
    for (const Relative& one : all) {
      if (one.parent != family[i]) continue;
      family.push_back(one.pid);
      if (one.state != 'Z' && one.state != 'X') living.push_back(one.pid);
    }
  }
  return living;
}

}  // namespace

void stop_process(pid_t pid) {
  ::kill(pid, SIGSTOP);
  // It may be at work on another processor until the signal has reached that.
  // A system call that cannot be interrupted may take longer than anyone waits
  // for it, but what follows the call is not run any more.
  const Deadline soon(std::chrono::seconds(1));
  constexpr std::string_view quiet = "TtZX";
  for (;;) {
    const auto now = look_at(fmt::format("/proc/{}", pid));
    if (!now || quiet.find(now->state) != std::string_view::npos || soon.passed()) return;
    std::this_thread::yield();
  }
}

void kill_tree(pid_t root) {
  // Stopped, it makes no more children and reaps none, so none of the pids
  // below can have gone to a stranger; orphans become its children.
  stop_process(root);
  for (int rounds = 0; rounds < 1000; ++rounds) {
    const auto living = living_descendants(root);
    if (living.empty()) break;
    for (const pid_t pid : living) ::kill(pid, SIGKILL);
    // What was killed takes a moment to go, and may have had children meanwhile.
    std::this_thread::yield();
  }
  ::kill(root, SIGKILL);
}

}  // namespace detail
}  // namespace mp
