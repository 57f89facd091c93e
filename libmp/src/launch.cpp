// Executing a fresh program, through Boost.Process v2 with a launcher of our
// own: posix_spawn, which the size of the parent does not slow down. The only
// source that includes Boost.Process.

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

// Boost 1.81's Process v2 uses these two without including them.
#define BOOST_PROCESS_USE_STD_FS
#include <boost/optional.hpp>
#include <boost/type_traits.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/process/v2/process.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "process_state.hpp"

extern char** environ;

namespace mp::detail {

namespace {

namespace process = boost::process::v2;

constexpr int control_in_child = 3;

// What the child gets: descriptors 0 (/dev/null), 1, 2 and 3, nothing else.
class FileActions {
 public:
  explicit FileActions(int control) {
    ok(::posix_spawn_file_actions_init(&actions_));
    ok(::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0));
    // On the same number, too: posix_spawn then clears close-on-exec.
    ok(::posix_spawn_file_actions_adddup2(&actions_, control, control_in_child));
    ok(::posix_spawn_file_actions_addclosefrom_np(&actions_, control_in_child + 1));
  }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  [[nodiscard]] const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  static void ok(int error) {
    if (error != 0) throw_errno("posix_spawn_file_actions", error);
  }
  posix_spawn_file_actions_t actions_{};
};

// A launcher in the sense of Boost.Process v2: makes a process, of which it
// returns the handle; `child` ends it should that fail.
struct PosixSpawnLauncher {
  using Handle = process::basic_process<boost::asio::io_context::executor_type>;
  std::optional<Newborn>& child;

  Handle operator()(boost::asio::io_context& context, const std::string& path,
                    std::vector<std::string>& argv, std::vector<std::string>& environment,
                    int control) const {
    const FileActions actions(control);
    auto arguments = pointers(argv);
    auto variables = pointers(environment);
    pid_t pid = 0;
    const int error = ::posix_spawn(&pid, path.c_str(), actions.get(), nullptr, arguments.data(),
                                    variables.data());
    if (error != 0) throw_errno(("posix_spawn(" + path + ")").c_str(), error);
    child.emplace(pid);
    if (!child->pidfd()) return Handle(context.get_executor());
    UniqueFd copy = child->pidfd().duplicate();
    Handle handle(context.get_executor(), pid, copy.get());
    copy.release();
    return handle;
  }

  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (auto& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  }
};

std::vector<std::string> own_arguments() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> arguments;
  for (std::size_t at = 0; at < all.size(); at += arguments.back().size() + 1) {
    arguments.emplace_back(all.c_str() + at);
  }
  if (arguments.empty()) arguments.emplace_back("mp");
  return arguments;
}

std::vector<std::string> environment_with(std::string variable) {
  std::vector<std::string> variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    variables.emplace_back(*entry);
  }
  variables.push_back(std::move(variable));
  return variables;
}

}  // namespace

Newborn launch(const char* role, int control) try {
  const std::string path = executable_path();
  auto arguments = own_arguments();
  auto environment =
      environment_with("MP_CHILD=" + std::string(role) + ':' + std::to_string(control_in_child));
  // A context of its own: a shared one deadlocks when threads spawn at once.
  boost::asio::io_context context;
  std::optional<Newborn> child;
  // Waiting is libmp's, through its own pidfd.
  PosixSpawnLauncher{child}(context, path, arguments, environment, control).detach();
  return *std::move(child);
} catch (const boost::system::system_error& error) {
  // Boost's own type is no std::system_error in all of its versions.
  throw std::system_error(error.code().value(), std::generic_category(), error.what());
}

}  // namespace mp::detail
