#include <sys/single_threaded.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>

#include "mp/detail/heap.hpp"
#include "mp/logging.hpp"
#include "process_state.hpp"
#include "service_thread.hpp"

namespace mp::detail {

namespace {

// ThreadSanitizer has a thread of its own, from the program's second one on.
// It holds no lock of the program.
#if defined(__SANITIZE_THREAD__)
constexpr int sanitizer_threads = 1;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr int sanitizer_threads = 1;
#else
constexpr int sanitizer_threads = 0;
#endif
#else
constexpr int sanitizer_threads = 0;
#endif

// Is it a thread with locks that a fork could leave behind? Not if it is one
// of libmp's own, nor if it is past its last line: a thread that was joined is
// listed a moment longer.
bool can_hold_locks(const std::filesystem::path& task) {
  std::string text;
  if (!std::getline(std::ifstream(task / "stat"), text)) return false;  // It has gone.
  const std::size_t name = text.find('('), end = text.rfind(')');
  if (text.compare(name + 1, end - name - 1, service_thread_name) == 0) return false;
  // Behind the name: state, five numbers, the kernel's flags.
  std::istringstream fields(text.substr(end + 1));
  std::string skipped;
  for (int i = 0; i < 6; ++i) fields >> skipped;
  unsigned flags = 0;
  constexpr unsigned exiting = 4;  // PF_EXITING, set before the joiner is woken.
  return !(fields >> flags) || (flags & exiting) == 0;
}

// The threads of the program, the calling one included.
int program_threads() {
  // The link count of the directory is 2 + threads: mostly that is enough.
  std::error_code error;
  const std::filesystem::path tasks = "/proc/self/task";
  const auto links = std::filesystem::hard_link_count(tasks, error);
  if (error || static_cast<int>(links) - 3 <= service_threads()) return 1;
  int count = -sanitizer_threads;
  for (std::filesystem::directory_iterator task(tasks, error), end; !error && task != end;
       task.increment(error)) {
    if (can_hold_locks(task->path())) ++count;
  }
  return count;
}

void warn_of_threads() {
  static std::atomic<bool> warned{false};
  // True says that there is one thread; false, that there were more once.
  if (__libc_single_threaded) return;
  const int threads = program_threads();
  if (threads <= 1 || warned.exchange(true)) return;
  log(logging::warning,
      "this process has {} threads: a child made by fork gets their locks as they are, and may "
      "wait for ever on one; use the start method forkserver or spawn",
      threads);
}

}  // namespace

Newborn popen_fork(Process& process, ProcessState& state) {
  warn_of_threads();
  // What is buffered now would be written by both.
  flush_streams();
  flush_log();
  const bool alone = __libc_single_threaded;
  const pid_t parent = this_pid();
  const bool daemon = state.daemon;
  // Where other threads start children, too: none of them is born between the
  // making of the pipe and the order to close it in a child.
  const int line = daemon || !alone ? lifeline() : -1;
  // Is there a descriptor left to hold the child by? Afterwards is too late: the
  // child may have begun.
  (void)open_pidfd(parent);
  // Made here what can be made here: each page that the child is first to
  // write to is copied for it, and thirty of them cost as much as the fork.
  get_logger();
  const auto described = describe_parent(current_process().name(), parent);
  const auto body = [&] {
    if (!alone) log_may_be_locked();
    become(ProcessAccess::state(process), described);
    if (daemon) die_with_parent(line, parent);
    drop_parents_lifeline();
    hold_parent(*described);
    force_start_method(StartMethod::fork);
    log(logging::info, "child process calling self.run()");
    process.run();
  };
  state.birth = heap_child_born();
  const pid_t pid = ::fork();
  if (pid < 0) throw_errno("fork");
  if (pid == 0) {
    // Nothing may leave this block by an exception: the stack above belongs
    // to the parent's program.
    run_child(std::ref(body));
  }
  return Newborn(pid);
}

}  // namespace mp::detail
