// A process's life between its first and its last line, and its end.

#include <cxxabi.h>
#include <fcntl.h>
#include <stdio_ext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <limits>
#include <map>
#include <mutex>
#include <typeinfo>

#ifdef __GLIBCXX__
#include <ext/stdio_sync_filebuf.h>
#endif

#include "mp/detail/exit_work.hpp"
#include "mp/detail/forkserver.hpp"
#include "mp/logging.hpp"
#include "process_state.hpp"

namespace mp::detail {

namespace {

// How long daemons may take to end after SIGTERM, all together, as the program ends.
constexpr auto daemon_grace = std::chrono::seconds(1);

// The lowest free number is what is opened next: that works where no other
// descriptor is left, too.
void read_stdin_from_nowhere() {
  ::close(STDIN_FILENO);
  (void)::open("/dev/null", O_RDONLY);
}

// What was thrown, not the wrapper in which the library nests it.
std::string thrown_type(const std::exception& error) {
  std::string name = type_name(typeid(error));
  constexpr std::string_view wrapper = "std::_Nested_exception<";
  if (name.starts_with(wrapper))
    name = name.substr(wrapper.size(), name.size() - wrapper.size() - 1);
  return name;
}

void append_causes(std::string& text, const std::exception& error) {
  text += thrown_type(error) + ": " + error.what() + '\n';
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception& cause) {
    text += "  caused by ";
    append_causes(text, cause);
  } catch (...) {
    text += "  caused by something that is no std::exception\n";
  }
}

// The standard streams, unless the program did something to them, hand each
// character on to stdout or stderr at once.
bool is_unbuffered(const std::ostream& stream) {
  const std::streambuf* buffer = stream.rdbuf();
#ifdef __GLIBCXX__
  if (buffer != nullptr) return typeid(*buffer) == typeid(__gnu_cxx::stdio_sync_filebuf<char>);
#endif
  return buffer == nullptr;
}

template <class Body>
int run_body(const Body& body) {
  try {
    body();
    return 0;
  } catch (const SystemExit& leaving) {
    if (!leaving.text().empty()) write_all(STDERR_FILENO, leaving.text() + '\n');
    return leaving.code();
  } catch (const abi::__forced_unwind&) {
    throw;  // The thread is being cancelled; the C library insists.
  } catch (...) {
    write_all(STDERR_FILENO,
              "Process " + current_process().name() + ":\n" + describe_current_exception());
    return 1;
  }
}

}  // namespace

std::string describe_current_exception() {
  std::string text;
  try {
    throw;
  } catch (const std::exception& error) {
    append_causes(text, error);
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    text = (type != nullptr ? type_name(*type) : std::string("unknown exception")) + '\n';
  }
  return text;
}

// Two flushes where there is nothing to flush are a tenth of a child's life:
// they are the first to touch the pages of code and data that they need.
void flush_streams() noexcept {
  try {
    for (std::ostream* stream : {&std::cout, &std::cerr, &std::clog}) {
      if (!is_unbuffered(*stream)) stream->flush();
    }
  } catch (...) {
    // A stream that throws from flush() has told its owner what it could.
  }
  for (std::FILE* file : {stdout, stderr}) {
    if (::__fpending(file) > 0) std::fflush(file);
  }
}

void run_child(const std::function<void()>& body) {
  read_stdin_from_nowhere();
  int code = run_body([&] {
    reset_exit_work();
    body();
  });
  log(logging::info, "process exiting with exitcode {}", code);
  flush_streams();
  try {
    run_exit_work();
  } catch (...) {
    write_all(STDERR_FILENO, "while process " + current_process().name() + " ended:\n" +
                                 describe_current_exception());
    code = 1;
  }
  flush_streams();
  flush_log();
  if (code == 0) run_orderly_end_hooks();
  // Never exit(): what the parent registered there is the parent's to run.
  ::_exit(code);
}

// --- the end -----------------------------------------------------------------

namespace {

struct ExitFunction {
  int priority;
  std::function<void()> function;
};

struct ExitFunctions {
  ForkSafeMutex mutex;
  std::map<std::uint64_t, ExitFunction> by_id;
  std::uint64_t last_id = 0;
  bool exiting = false;
};

ExitFunctions& exit_functions() {
  static auto& instance = *new ExitFunctions;
  return instance;
}

// The highest priority first, among equals the newest; each is taken out
// before it runs, so it may add and remove others.
bool run_next(int least_priority) {
  ExitFunctions& all = exit_functions();
  std::function<void()> function;
  {
    const std::lock_guard guard(all.mutex);
    auto best = all.by_id.end();
    for (auto it = all.by_id.begin(); it != all.by_id.end(); ++it) {
      if (it->second.priority >= least_priority &&
          (best == all.by_id.end() || it->second.priority >= best->second.priority)) {
        best = it;
      }
    }
    if (best == all.by_id.end()) return false;
    function = std::move(best->second.function);
    all.by_id.erase(best);
  }
  try {
    function();
  } catch (...) {
    log(logging::error, "an exit function failed: {}", describe_current_exception());
  }
  return true;
}

// Not all may be signalled by a program that has changed its user.
bool is_signalled(Process& child, void (Process::*send)()) {
  try {
    (child.*send)();
    return true;
  } catch (const std::system_error& refused) {
    log(logging::warning, "{} cannot be ended: {}", child.name(), refused.what());
    return false;
  }
}

void end_children() {
  auto children = living_children();
  std::vector<Process> handles;
  for (auto& child : children) handles.push_back(ProcessAccess::handle(child));
  for (auto& child : handles) {
    if (!child.daemon()) continue;
    log(logging::info, "calling terminate() for daemon {}", child.name());
    is_signalled(child, &Process::terminate);
  }
  if (handles.empty()) return end_forkserver();
  // Daemons first: those that do not end must not wait for other children until they are killed.
  std::stable_partition(handles.begin(), handles.end(), [](auto& child) { return child.daemon(); });
  const Deadline grace(daemon_grace);
  for (auto& child : handles) {
    log(logging::info, "calling join() for process {}", child.name());
    if (child.daemon()) {
      child.join(grace.remaining());
      if (child.is_alive() && !is_signalled(child, &Process::kill)) continue;
    }
    child.join();
  }
  end_forkserver();
}

}  // namespace

void arrange_exit_work() {
  // In the program itself, so that no child has to make them.
  exit_functions();
  std::atexit(run_exit_work);
}

std::uint64_t add_exit_work(int priority, std::function<void()> function) {
  current_state();  // Registers run_exit_work() with the C library.
  ExitFunctions& all = exit_functions();
  const std::lock_guard guard(all.mutex);
  all.by_id.emplace(++all.last_id, ExitFunction{priority, std::move(function)});
  return all.last_id;
}

void remove_exit_work(std::uint64_t id) noexcept {
  ExitFunctions& all = exit_functions();
  std::function<void()> dropped;
  const std::lock_guard guard(all.mutex);
  if (const auto found = all.by_id.find(id); found != all.by_id.end()) {
    dropped = std::move(found->second.function);
    all.by_id.erase(found);
  }
}

void reset_exit_work() noexcept {
  // The parent's functions own things the child must not destroy: let them lie.
  ExitFunctions& all = exit_functions();
  if (all.exiting) all.exiting = false;
  if (all.by_id.empty()) return;
  static auto& inherited = *new std::vector<std::map<std::uint64_t, ExitFunction>>;
  inherited.push_back(std::exchange(all.by_id, {}));
}

void run_exit_work() {
  ExitFunctions& all = exit_functions();
  if (all.exiting) return;
  // A child of a raw fork that leaves by exit() has nothing of its parent's to end.
  if (current_state()->pid != this_pid()) return;
  all.exiting = true;
  log(logging::info, "process shutting down");
  log(logging::debug, "running all \"atexit\" finalizers with priority >= 0");
  while (run_next(0)) {
  }
  end_children();
  log(logging::debug, "running the remaining \"atexit\" finalizers");
  while (run_next(std::numeric_limits<int>::min())) {
  }
}

}  // namespace mp::detail
