#include "mp/context.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <ostream>

#include "mp/errors.hpp"
#include "process_state.hpp"
#include "server.hpp"

namespace mp {
namespace detail {

namespace {

constexpr const char* child_variable = "MP_CHILD";
constexpr int not_fixed = -1;

struct Settings {
  ForkSafeMutex mutex;
  std::string executable;
  std::vector<void (*)()> preload;
};

Settings& settings() {
  static auto& instance = *new Settings;
  return instance;
}

std::atomic<int> fixed_method{not_fixed};

// Read before main(): a child that is not told apart there would be taken for
// the program itself.
std::string take_role() {
  const char* value = std::getenv(child_variable);
  return value == nullptr ? std::string() : value;
}

std::string& role() {
  static auto& text = *new std::string(take_role());
  return text;
}

// A child that leaves main() without ever asking for its order would look
// like one that did its work.
void refuse_silent_end() {
  if (!is_bootstrapping() || fork_generation() != 1) return;
  write_all(STDERR_FILENO,
            "mp::RuntimeError: this program was executed as a child process and its main() "
            "returned: mp::freeze_support() must come first in main()\n");
  ::_exit(1);
}

[[maybe_unused]] const bool armed = [] {
  if (!role().empty()) std::atexit(refuse_silent_end);
  return true;
}();

}  // namespace

bool is_bootstrapping() noexcept { return !role().empty(); }

std::string executable_path() {
  const std::lock_guard guard(settings().mutex);
  return settings().executable.empty() ? "/proc/self/exe" : settings().executable;
}

std::vector<void (*)()> forkserver_preload() {
  const std::lock_guard guard(settings().mutex);
  return settings().preload;
}

StartMethod default_start_method() noexcept {
  const int method = fixed_method.load();
  return method == not_fixed ? StartMethod::fork : static_cast<StartMethod>(method);
}

void force_start_method(StartMethod method) noexcept { fixed_method = static_cast<int>(method); }

}  // namespace detail

std::string_view to_string(StartMethod method) noexcept {
  constexpr std::array<std::string_view, 3> names{"fork", "spawn", "forkserver"};
  return names[static_cast<std::size_t>(method)];
}

void freeze_support() {
  const std::string role = std::exchange(detail::role(), {});
  if (role.empty()) return;
  ::unsetenv(detail::child_variable);
  const std::size_t colon = role.find(':');
  if (colon == std::string::npos) throw ValueError("MP_CHILD is not ROLE:DESCRIPTOR");
  detail::UniqueFd control(std::atoi(role.c_str() + colon + 1));
  if (role.starts_with("forkserver")) detail::serve_forks(std::move(control));
  detail::run_ordered_child(std::move(control));
}

std::ostream& operator<<(std::ostream& out, StartMethod method) { return out << to_string(method); }

void set_start_method(std::optional<StartMethod> method, bool force) {
  if (force) {
    detail::fixed_method = method ? static_cast<int>(*method) : detail::not_fixed;
    return;
  }
  int expected = detail::not_fixed;
  const int wanted = static_cast<int>(method.value_or(StartMethod::fork));
  if (!detail::fixed_method.compare_exchange_strong(expected, wanted)) {
    throw RuntimeError("context has already been set");
  }
}

namespace {

StartMethod start_method_of(std::string_view name) {
  for (const StartMethod method :
       {StartMethod::fork, StartMethod::spawn, StartMethod::forkserver}) {
    if (to_string(method) == name) return method;
  }
  throw ValueError("cannot find context for '" + std::string(name) + "'");
}

}  // namespace

void set_start_method(std::string_view name, bool force) {
  set_start_method(start_method_of(name), force);
}

StartMethod get_start_method() {
  int expected = detail::not_fixed;
  detail::fixed_method.compare_exchange_strong(expected, static_cast<int>(StartMethod::fork));
  return detail::default_start_method();
}

std::optional<StartMethod> get_fixed_start_method() noexcept {
  const int method = detail::fixed_method.load();
  if (method == detail::not_fixed) return std::nullopt;
  return static_cast<StartMethod>(method);
}

std::vector<StartMethod> get_all_start_methods() {
  return {StartMethod::fork, StartMethod::spawn, StartMethod::forkserver};
}

void set_executable(const std::filesystem::path& path) {
  const std::lock_guard guard(detail::settings().mutex);
  detail::settings().executable = path.string();
}

void set_forkserver_preload(std::vector<void (*)()> functions) {
  const std::lock_guard guard(detail::settings().mutex);
  detail::settings().preload = std::move(functions);
}

}  // namespace mp
