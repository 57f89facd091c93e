#include "processes.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>
#include <thread>

namespace mp::test {
namespace {

namespace fs = std::filesystem;

std::optional<pid_t> number(std::string_view text) {
  pid_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The fields of /proc/PID/stat follow the name's closing parenthesis; the name may hold others.
std::optional<ProcessRow> process_row(const fs::path& folder) {
  std::ifstream file(folder / "stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  auto open = line.find('(');
  auto close = line.rfind(')');
  if (open == std::string::npos || close == std::string::npos) return std::nullopt;
  ProcessRow row;
  row.name = line.substr(open + 1, close - open - 1);
  std::istringstream rest(line.substr(close + 1));
  rest >> row.state >> row.parent;
  return row;
}

bool descends_from(const std::map<pid_t, ProcessRow>& table, pid_t pid, pid_t ancestor) {
  while (pid != ancestor) {
    auto row = table.find(pid);
    if (row == table.end()) return false;
    pid = row->second.parent;
  }
  return true;
}

bool is_same(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

// By number, not by name: glibc maps a semaphore's file under a name that it had before.
bool has_open(pid_t pid, const struct stat& file) {
  std::error_code gone;
  auto folder = fs::path("/proc") / std::to_string(pid);
  for (const auto& entry : fs::directory_iterator(folder / "fd", gone)) {
    struct stat other = {};
    if (::stat(entry.path().c_str(), &other) == 0 && is_same(file, other)) return true;
  }
  std::ifstream maps(folder / "maps");
  for (std::string line; std::getline(maps, line);) {
    // 7f00-7f10 rw-s 00000000 00:1a 1234 /dev/shm/name
    unsigned int major = 0;
    unsigned int minor = 0;
    struct stat other = {};
    if (std::sscanf(line.c_str(), "%*s %*s %*s %x:%x %lu", &major, &minor, &other.st_ino) != 3) {
      continue;
    }
    other.st_dev = makedev(major, minor);
    if (is_same(file, other)) return true;
  }
  return false;
}

// Is it there, and nobody's outside this one's family?
bool is_ours(const std::string& name) {
  struct stat file = {};
  if (::stat(("/dev/shm/" + name).c_str(), &file) != 0) return false;
  auto table = process_table();
  return std::none_of(table.begin(), table.end(), [&](const auto& row) {
    return !descends_from(table, row.first, ::getpid()) && has_open(row.first, file);
  });
}

}  // namespace

std::map<pid_t, ProcessRow> process_table() {
  std::map<pid_t, ProcessRow> table;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    auto pid = number(entry.path().filename().string());
    if (!pid) continue;
    // A process may end between the listing and the look.
    if (auto row = process_row(entry.path())) table[*pid] = *row;
  }
  return table;
}

std::vector<pid_t> descendants(const std::map<pid_t, ProcessRow>& table, pid_t ancestor) {
  std::vector<pid_t> found;
  for (const auto& [pid, row] : table) {
    if (pid != ancestor && descends_from(table, pid, ancestor)) found.push_back(pid);
  }
  return found;
}

bool is_gone(pid_t pid) {
  const auto row = process_row(fs::path("/proc") / std::to_string(pid));
  return !row || row->has_ended();
}

bool is_asleep(pid_t id) {
  const auto row = process_row(fs::path("/proc") / std::to_string(id));
  return row && row->state == 'S';
}

std::size_t threads_of_this_process() {
  const auto all = fs::directory_iterator("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

bool other_threads_sleep() {
  const auto all = fs::directory_iterator("/proc/self/task");
  return std::all_of(begin(all), end(all), [](const auto& entry) {
    const auto id = number(entry.path().filename().string());
    return id == ::gettid() || is_asleep(*id);
  });
}

std::set<std::string> shared_memory_names() {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator("/dev/shm")) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

std::vector<std::string> shared_memory_left(const std::set<std::string>& before) {
  // A stranger that was killed has somebody who tidies up after it, soon.
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (true) {
    std::vector<std::string> left;
    for (const auto& name : shared_memory_names()) {
      if (!before.contains(name) && is_ours(name)) left.push_back(name);
    }
    if (left.empty() || std::chrono::steady_clock::now() > patience) return left;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace mp::test
