#include "mp/process.hpp"

#include <cxxabi.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <ostream>
#include <typeindex>

#include "mp/detail/heap.hpp"
#include "mp/logging.hpp"
#include "process_state.hpp"

namespace mp {
namespace detail {

namespace {

std::map<std::type_index, ProcessClass>& process_classes() {
  static auto& classes = *new std::map<std::type_index, ProcessClass>;
  return classes;
}

void require_open(const ProcessState& state) {
  if (state.closed) throw ValueError("process object is closed");
}

void require_own(const ProcessState& state, const char* message) {
  if (state.creator != this_pid()) throw AssertionError(message);
}

}  // namespace

std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : type.name();
}

bool register_process_class(const std::type_info& type, ProcessClass description) {
  process_classes()[type] = description;
  return true;
}

const ProcessClass* find_process_class(const std::type_info& type) {
  const auto found = process_classes().find(type);
  return found == process_classes().end() ? nullptr : &found->second;
}

namespace {

Newborn popen(Process& process, ProcessState& state) {
  switch (chosen_method(state.start_method)) {
    case StartMethod::spawn:
      return popen_spawn(process, state);
    case StartMethod::forkserver:
      return popen_forkserver(process, state);
    case StartMethod::fork:
      break;
  }
  return popen_fork(process, state);
}

}  // namespace
}  // namespace detail

using detail::ProcessState;

Process::Process(ProcessOptions options) : state_(std::make_shared<ProcessState>()) {
  const auto creator = detail::current_state();
  state_->identity = detail::next_identity();
  state_->daemon = options.daemon.value_or(creator->daemon);
  {
    const std::lock_guard guard(creator->mutex);
    state_->authkey = creator->authkey;
  }
  state_->creator = detail::this_pid();
  state_->start_method = options.start_method;
  state_->name = std::move(options.name);
}

ProcessState& Process::state() const {
  if (!state_) throw ValueError("process object was moved from");
  return *state_;
}

void Process::set_task(std::unique_ptr<detail::Task> task) { state().task = std::move(task); }

void Process::run() {
  if (state().task) state().task->run();
}

void Process::start() {
  ProcessState& state = this->state();
  detail::require_open(state);
  detail::require_own(state, "can only start a process object created by current process");
  if (state.start_called.exchange(true)) throw AssertionError("cannot start a process twice");
  try {
    start_child();
  } catch (...) {
    // No child exists.
    if (state.birth != 0) detail::heap_child_gone(std::exchange(state.birth, 0));
    state.kept.clear();
    state.start_called = false;
    throw;
  }
}

namespace {

// It may be another thread that closes a child which has ended while start() returns.
void drop_task(ProcessState& state) {
  std::unique_ptr<detail::Task> task;
  const std::lock_guard guard(state.mutex);
  task.swap(state.task);
}

}  // namespace

void Process::start_child() {
  ProcessState& state = this->state();
  const auto self = detail::current_state();
  if (self->daemon && !self->may_have_children) {
    throw AssertionError("daemonic processes are not allowed to have children");
  }
  if (detail::is_bootstrapping()) {
    throw RuntimeError(
        "An attempt has been made to start a new process before the current process has finished "
        "its bootstrapping phase. This child executes main() again: call mp::freeze_support() "
        "first in main(), and start no process before it.");
  }
  detail::living_children();
  (void)name();  // Fixed now, while the class is known.
  state.class_name = repr_class();
  detail::adopt(state_, detail::popen(*this, state));
  // Last: what the task lets go of may ask which children there are.
  drop_task(state);
}

void Process::join(Timeout timeout) {
  ProcessState& state = this->state();
  detail::require_open(state);
  const bool parent = state.kind == ProcessState::Kind::parent;
  if (!parent) {
    detail::require_own(state, "can only join a child process");
    if (state.pid == 0) throw AssertionError("can only join a started process");
  }
  // Any number of threads may wait; whoever is first collects the status.
  if (const auto pidfd = detail::pidfd_of(state)) {
    detail::wait_fd(pidfd->get(), POLLIN, detail::Deadline(timeout));
  }
  if (!parent) detail::reap(state);
}

bool Process::is_alive() const {
  ProcessState& state = this->state();
  detail::require_open(state);
  switch (state.kind) {
    case ProcessState::Kind::main:
    case ProcessState::Kind::self:
      return state.pid == detail::this_pid();
    case ProcessState::Kind::parent:
      return state.pidfd && !detail::says_ended(*state.pidfd);
    case ProcessState::Kind::child:
      break;
  }
  detail::require_own(state, "can only test a child process");
  return !detail::reap(state) && state.pid != 0;
}

namespace {

void send_signal(ProcessState& state, int signal) {
  detail::require_open(state);
  if (state.kind == ProcessState::Kind::child) {
    detail::require_own(state, "can only signal a child process");
    if (state.pid == 0) throw AssertionError("can only signal a started process");
  }
  if (state.kind == ProcessState::Kind::main || state.kind == ProcessState::Kind::self) {
    ::raise(signal);
    return;
  }
  const std::lock_guard guard(state.mutex);
  if (state.status || !state.pidfd) return;
  // Through the pidfd: never to a stranger who got the pid afterwards.
  if (::syscall(SYS_pidfd_send_signal, state.pidfd->get(), signal, nullptr, 0) < 0 &&
      errno != ESRCH) {
    detail::throw_errno("pidfd_send_signal");
  }
}

}  // namespace

void Process::terminate() { send_signal(state(), SIGTERM); }
void Process::kill() { send_signal(state(), SIGKILL); }
void Process::interrupt() { send_signal(state(), SIGINT); }

void Process::close() {
  ProcessState& state = this->state();
  if (state.closed || state.kind != ProcessState::Kind::child) return;
  if (state.creator == detail::this_pid() && state.start_called) {
    if (!detail::reap(state)) {
      throw ValueError(
          "Cannot close a process while it is still running. You should first call join() or "
          "terminate().");
    }
  }
  drop_task(state);
  const std::lock_guard guard(state.mutex);
  state.closed = true;
  state.pidfd.reset();
}

std::optional<int> Process::exitcode() const {
  detail::require_open(state());
  if (state().kind == ProcessState::Kind::child && state().creator == detail::this_pid()) {
    return detail::reap(state());
  }
  return std::nullopt;
}

std::string Process::name() const {
  const std::lock_guard guard(state().mutex);
  if (state().name.empty()) {
    // Not in the constructor: only now is the class known.
    std::string text = repr_class() + '-';
    for (std::size_t i = 0; i < state().identity.size(); ++i) {
      if (i != 0) text += ':';
      text += std::to_string(state().identity[i]);
    }
    state().name = std::move(text);
  }
  return state().name;
}

void Process::set_name(std::string name) {
  const std::lock_guard guard(state().mutex);
  state().name = std::move(name);
}

bool Process::daemon() const { return state().daemon; }

void Process::set_daemon(bool daemon) {
  if (state().pid != 0) throw AssertionError("process has already started");
  state().daemon = daemon;
}

std::optional<pid_t> Process::pid() const {
  detail::require_open(state());
  const pid_t pid = state().pid;
  return pid == 0 ? std::nullopt : std::optional(pid);
}

AuthenticationString Process::authkey() const {
  const std::lock_guard guard(state().mutex);
  return state().authkey;
}

void Process::set_authkey(AuthenticationString key) {
  const std::lock_guard guard(state().mutex);
  state().authkey = std::move(key);
}

int Process::sentinel() const {
  detail::require_open(state());
  const std::lock_guard guard(state().mutex);
  if (!state().pidfd) throw ValueError("process not started");
  return state().pidfd->get();
}

// The class of the object, without its namespaces, as Python shows it.
std::string Process::repr_class() const {
  if (state().kind != ProcessState::Kind::child || state().pid != 0) return state().class_name;
  if (typeid(*this) == typeid(Process)) return "Process";
  const std::string full = detail::type_name(typeid(*this));
  return full.substr(full.rfind(':') == std::string::npos ? 0 : full.rfind(':') + 1);
}

std::string Process::repr() const {
  const ProcessState& state = this->state();
  using Kind = ProcessState::Kind;
  std::string text = fmt::format("<{} name='{}'", repr_class(), name());
  const bool mine = state.creator == detail::this_pid();
  if (state.kind == Kind::child && state.pid != 0 && !state.closed) {
    text += fmt::format(" pid={}", state.pid.load());
  }
  text += state.creator ? fmt::format(" parent={}", *state.creator) : " parent=None";
  if (state.closed) {
    text += " closed";
  } else if (state.kind == Kind::main || state.kind == Kind::self) {
    text += state.pid == detail::this_pid() ? " started" : " unknown";
  } else if (state.kind == Kind::parent || !mine) {
    text += " unknown";
  } else if (state.pid == 0) {
    text += " initial";
  } else if (const auto code = exitcode(); !code) {
    text += " started";
  } else {
    const char* signal = *code < 0 ? ::sigabbrev_np(-*code) : nullptr;
    text += " stopped exitcode=";
    text += signal != nullptr ? std::string("-SIG") + signal : std::to_string(*code);
  }
  return text + (state.daemon ? " daemon>" : ">");
}

std::ostream& operator<<(std::ostream& out, const Process& process) {
  return out << process.repr();
}

// --- the family --------------------------------------------------------------

Process current_process() { return detail::ProcessAccess::handle(detail::current_state()); }

std::optional<Process> parent_process() {
  auto state = detail::parent_state();
  if (!state) return std::nullopt;
  return detail::ProcessAccess::handle(std::move(state));
}

std::vector<Process> active_children() {
  std::vector<Process> children;
  for (auto& state : detail::living_children()) {
    children.push_back(detail::ProcessAccess::handle(std::move(state)));
  }
  return children;
}

}  // namespace mp
