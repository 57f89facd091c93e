#pragma once

#include <sys/types.h>

#include <concepts>
#include <cstddef>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "mp/authentication.hpp"
#include "mp/context.hpp"
#include "mp/detail/callable.hpp"
#include "mp/detail/os.hpp"
#include "mp/errors.hpp"

namespace mp {

class Process;

namespace detail {
struct ProcessState;
struct ProcessAccess;
template <class T>
concept IsDerivedProcess = std::is_base_of_v<Process, std::remove_cvref_t<T>> &&
    !std::is_same_v<Process, std::remove_cvref_t<T>>;
}  // namespace detail

/// The keyword arguments of Python's `Process()`.
struct ProcessOptions {
  std::string name = {};            ///< Empty: "Process-N", N counting constructed objects from 1.
  std::optional<bool> daemon = {};  ///< Empty: as the creating process.
  std::optional<StartMethod> start_method = {};  ///< Empty: the default when start() is called.
};

/// An activity that runs in a child process.
///
/// A handle: dropping it neither kills nor waits for the child. When the
/// program ends, daemons are terminated and all other children joined; daemons
/// that are there a second later are killed. A daemon also ends when its parent
/// was killed, whichever program it executes by then.
/// May be used from any thread. Belongs to the process that made it: in another
/// one start(), join(), is_alive() and signals throw AssertionError, and exitcode()
/// is empty. After close() all but its name and the like are a ValueError, as is
/// every call for an object that was moved from.
///
/// The child ends by _exit when its target has returned: its own exit work is done,
/// stdout and stderr are flushed, and no destructor of a global, a static or an
/// argument runs: a file of one's own is to be flushed or closed by the target.
///
/// A class of one's own derives from it and overrides run(). Under fork that
/// is all; for spawn and forkserver it is default-constructible, names its
/// members in serialize(), and is made known by register_process<T>().
class Process {
 public:
  /// Without a target: for a class that overrides run(), or to do nothing.
  explicit Process(ProcessOptions options = {});

  /// `target(args...)` in the child; what it returns is dropped. Under spawn
  /// and forkserver target and arguments are pickled by start(); under fork
  /// they are just there. Both are destroyed here once start() returns.
  template <class Target, class... Args>
  requires(!std::is_same_v<std::decay_t<Target>, ProcessOptions> &&
           !std::is_base_of_v<Process, std::decay_t<Target>>) explicit Process(Target&& target,
                                                                               Args&&... args)
      : Process(ProcessOptions(), std::forward<Target>(target), std::forward<Args>(args)...) {}
  template <class Target, class... Args>
  Process(ProcessOptions options, Target&& target, Args&&... args) : Process(std::move(options)) {
    set_task(detail::make_task(std::forward<Target>(target), std::forward<Args>(args)...));
  }

  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  Process(Process&&) noexcept = default;
  Process& operator=(Process&&) noexcept = default;
  // A class of one's own would lose its run(): keep it by a std::unique_ptr.
  template <class Derived>
  requires detail::IsDerivedProcess<Derived> Process(Derived&&)
  = delete;
  template <class Derived>
  requires detail::IsDerivedProcess<Derived> Process& operator=(Derived&&) = delete;
  virtual ~Process() = default;

  /// The body of the child. Unless overridden: calls the target.
  virtual void run();

  /// Starts the child. Throws ValueError if closed, AssertionError if started
  /// before or if this process is a daemon (they have no children),
  /// PicklingError if target or arguments cannot cross, RuntimeError in a
  /// child that missed freeze_support() or if the fork server missed it,
  /// std::system_error if the system refuses. In each of these cases no child exists.
  void start();

  /// Returns when the child has ended or `timeout` has passed; running out of
  /// time is no error, exitcode() is still empty then. Throws AssertionError
  /// if it was not started.
  void join(Timeout timeout = {});

  /// True from start() until the child has ended; a finished child is reaped.
  [[nodiscard]] bool is_alive() const;

  /// SIGTERM, SIGKILL and SIGINT; nothing happens if it has ended. Without a
  /// handler of its own the child ends at once: no destructor runs there, and
  /// its children are left to themselves. Throws AssertionError before start(),
  /// std::system_error if this user may not signal it.
  void terminate();
  void kill();
  void interrupt();

  /// Lets go of the child's descriptors. Throws ValueError while it runs.
  void close();

  /// Empty until the child has ended; then what it exited with, 0 to 255, or
  /// minus the signal that ended it. 255, too, if its status was lost to
  /// somebody else's wait (or to SIGCHLD being ignored).
  [[nodiscard]] std::optional<int> exitcode() const;

  [[nodiscard]] std::string name() const;
  void set_name(std::string name);
  [[nodiscard]] bool daemon() const;
  /// Throws AssertionError after start().
  void set_daemon(bool daemon);
  /// Empty before start().
  [[nodiscard]] std::optional<pid_t> pid() const;
  [[nodiscard]] std::optional<pid_t> ident() const { return pid(); }
  [[nodiscard]] AuthenticationString authkey() const;
  void set_authkey(AuthenticationString key);

  /// A pidfd: readable when the child has ended, whoever else still lives.
  /// Belongs to this object. Throws ValueError before start(), and of a process
  /// that is no child and runs no more, or is this one.
  [[nodiscard]] int sentinel() const;

  /// Whether both are handles to the same process object, as those of active_children() are.
  friend bool operator==(const Process& a, const Process& b) noexcept {
    return a.state_ == b.state_;
  }

  /// `<Process name='Process-1' pid=12 parent=11 started>`, as Python's repr.
  [[nodiscard]] std::string repr() const;

 private:
  friend struct detail::ProcessAccess;
  explicit Process(std::shared_ptr<detail::ProcessState> state) : state_(std::move(state)) {}
  [[nodiscard]] detail::ProcessState& state() const;
  void start_child();
  void set_task(std::unique_ptr<detail::Task> task);
  [[nodiscard]] std::string repr_class() const;

  std::shared_ptr<detail::ProcessState> state_;
};

/// The object of the process that asks.
Process current_process();
/// The creator, as seen from a child: name, pid, is_alive, join. Empty in the
/// main program.
std::optional<Process> parent_process();
/// Children that were started and have not ended; reaps those that have.
std::vector<Process> active_children();

/// Processors of the machine that are on-line. Python: cpu_count.
int cpu_count();
/// Processors this process may use: its affinity and its cgroup's quota
/// (rounded up) counted. At least 1. The default size of a pool.
int process_cpu_count();

namespace detail {
struct ProcessClass {
  std::string (*name)() = nullptr;
  void (*save)(Encoder&, const Process&) = nullptr;
  std::unique_ptr<Process> (*revive)(Decoder&) = nullptr;
};
bool register_process_class(const std::type_info& type, ProcessClass description);
}  // namespace detail

/// Makes a class derived from Process known to spawn and forkserver; at
/// namespace scope: `const bool known = mp::register_process<Consumer>();`.
template <class T>
bool register_process() {
  static_assert(std::is_base_of_v<Process, T>);
  static_assert(detail::HasSerialize<T>, "name the members in serialize(Archive&)");
  static_assert(std::is_default_constructible_v<T>);
  return detail::register_process_class(
      typeid(T), {[] { return detail::type_name(typeid(T)); },
                  [](Encoder& out, const Process& process) {
                    const_cast<T&>(static_cast<const T&>(process)).serialize(out);
                  },
                  [](Decoder& in) -> std::unique_ptr<Process> {
                    auto process = std::make_unique<T>();
                    process->serialize(in);
                    return process;
                  }});
}

std::ostream& operator<<(std::ostream& out, const Process& process);

}  // namespace mp

template <std::derived_from<mp::Process> T>
struct fmt::formatter<T> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const mp::Process& process, Context& context) const {
    return fmt::formatter<std::string>::format(process.repr(), context);
  }
};
