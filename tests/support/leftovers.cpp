#include "leftovers.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "processes.hpp"

namespace mp::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// How long a thread that is on its way out may take.
constexpr auto grace = 2s;

std::map<int, std::string> open_descriptors() {
  std::map<int, std::string> found;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    auto target = fs::read_symlink(entry.path(), gone).string();
    // The listing has a descriptor of its own.
    if (gone || target == fmt::format("/proc/{}/fd", ::getpid())) continue;
    found[std::stoi(entry.path().filename().string())] = target;
  }
  return found;
}

// What a sanitizer starts to name the functions of a finding, even of one that is suppressed; it
// stays until the program ends.
constexpr std::string_view symbolizer = "llvm-symbolizer";

// The pipes that it is asked and answers through; the rest is its parent's.
std::set<std::string> pipes_of(pid_t child) {
  std::set<std::string> found;
  std::error_code gone;
  for (int fd : {STDIN_FILENO, STDOUT_FILENO}) {
    found.insert(fs::read_symlink(fmt::format("/proc/{}/fd/{}", child, fd), gone).string());
  }
  return found;
}

// As libmp/src/service_thread.hpp has it, which not all that link this file see.
constexpr std::string_view service_thread = "libmp-service";

bool service_thread_runs() {
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name == service_thread) return true;
  }
  return false;
}

std::vector<std::function<void()>>& tidying() {
  static std::vector<std::function<void()>> actions;
  return actions;
}

}  // namespace

Belongings Belongings::now() {
  Belongings found;
  found.descriptors = open_descriptors();
  for (const auto& [pid, row] : process_table()) {
    if (row.parent != ::getpid()) continue;
    if (row.name == symbolizer) {
      const auto pipes = pipes_of(pid);
      std::erase_if(found.descriptors, [&](const auto& own) { return pipes.contains(own.second); });
    } else {
      found.children[pid] = fmt::format("{}, state {}", row.name, row.state);
    }
  }
  found.shared_memory = shared_memory_names();
  return found;
}

std::vector<std::string> leftovers(const Belongings& before) {
  std::vector<std::string> sentences;
  auto after = Belongings::now();
  for (const auto& [pid, what] : after.children) {
    if (!before.children.contains(pid)) {
      sentences.push_back(fmt::format("child {} is left over ({})", pid, what));
    }
  }
  for (const auto& [fd, target] : after.descriptors) {
    auto was = before.descriptors.find(fd);
    if (was == before.descriptors.end() || was->second != target) {
      sentences.push_back(fmt::format("descriptor {} is left open ({})", fd, target));
    }
  }
  for (const auto& [fd, target] : before.descriptors) {
    if (!after.descriptors.contains(fd)) {
      sentences.push_back(fmt::format("descriptor {} was closed ({})", fd, target));
    }
  }
  for (const auto& name : shared_memory_left(before.shared_memory)) {
    sentences.push_back(fmt::format("/dev/shm/{} is left over", name));
  }
  return sentences;
}

void before_counting_leftovers(std::function<void()> tidy) { tidying().push_back(std::move(tidy)); }

void LeftoversListener::OnTestStart(const testing::TestInfo&) { before_ = Belongings::now(); }

void LeftoversListener::OnTestEnd(const testing::TestInfo&) {
  for (const auto& tidy : tidying()) tidy();
  // A thread of libmp's that nobody needs any more ends by itself, and closes its connection then.
  const auto end = std::chrono::steady_clock::now() + grace;
  bool ending = service_thread_runs();
  auto left = leftovers(before_);
  while (!left.empty() && ending && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(1ms);
    ending = service_thread_runs();
    left = leftovers(before_);
  }
  for (const auto& sentence : left) ADD_FAILURE() << sentence;
  for (const auto& [pid, what] : Belongings::now().children) {
    if (before_.children.contains(pid)) continue;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

}  // namespace mp::test
