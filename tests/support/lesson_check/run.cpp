// One source for Boost.Process: it takes seconds to compile. Boost 1.81 needs the first two headers
// to be there before its own, and std::filesystem in place of a library of its own.
#define BOOST_PROCESS_USE_STD_FS
// GCC 12 takes an assignment of three descriptors in Boost's launcher for four.
#ifndef __clang__
#pragma GCC diagnostic ignored "-Warray-bounds"
#pragma GCC diagnostic ignored "-Wrestrict"
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif
#include "run.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/optional.hpp>
#include <boost/type_traits.hpp>
// After those two.
#include <boost/asio/io_context.hpp>
#include <boost/process/v2/process.hpp>
#include <boost/process/v2/stdio.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <system_error>
#include <utility>

#include "../processes.hpp"

namespace mp::test {
namespace {

namespace fs = std::filesystem;
namespace bp = boost::process::v2;
using Clock = std::chrono::steady_clock;

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

int check(int result, const char* what) {
  if (result < 0) throw_errno(what);
  return result;
}

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { close(); }
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

// The lines that come out of one pipe.
class Collector {
 public:
  Collector(Clock::time_point start, std::vector<TimedLine>& lines) : start_(start), lines_(lines) {
    std::array<int, 2> ends = {};
    check(::pipe2(ends.data(), O_CLOEXEC), "pipe2");
    read_end_ = Descriptor(ends[0]);
    write_end_ = Descriptor(ends[1]);
    check(::fcntl(read_end_.get(), F_SETFL, O_NONBLOCK), "fcntl");
  }

  int write_end() const { return write_end_.get(); }
  int read_end() const { return read_end_.get(); }
  bool at_end() const { return !read_end_.is_open(); }
  void started() { write_end_.close(); }

  void read_all() {
    std::array<char, 65536> buffer;
    while (!at_end()) {
      auto count = ::read(read_end_.get(), buffer.data(), buffer.size());
      if (count > 0) {
        add({buffer.data(), static_cast<std::size_t>(count)});
      } else if (count == 0) {
        read_end_.close();
      } else if (errno == EAGAIN) {
        return;
      } else if (errno != EINTR) {
        throw_errno("read");
      }
    }
  }

  // Nobody will end the line that has been begun.
  void finish() {
    if (!begun_.empty()) end_line();
  }

 private:
  void add(std::string_view text) {
    for (char c : text) {
      if (c == '\n') {
        end_line();
      } else {
        begun_ += c;
      }
    }
  }

  void end_line() { lines_.push_back({std::exchange(begun_, {}), Clock::now() - start_}); }

  Clock::time_point start_;
  std::vector<TimedLine>& lines_;
  std::string begun_ = {};
  Descriptor read_end_;
  Descriptor write_end_;
};

// Receives the signals as long as it lives: SIGCHLD, and the two by which a test is ended early.
class Signals {
 public:
  Signals() {
    sigset_t wanted;
    ::sigemptyset(&wanted);
    for (int signal : {SIGCHLD, SIGTERM, SIGINT}) ::sigaddset(&wanted, signal);
    check(::sigprocmask(SIG_BLOCK, &wanted, &before_), "sigprocmask");
    fd_ = Descriptor(check(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd"));
  }
  ~Signals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int descriptor() const { return fd_.get(); }
  const sigset_t& mask_before() const { return before_; }

  // SIGTERM or SIGINT, if one of them was among the signals that have come.
  std::optional<int> read_all() {
    std::optional<int> stop;
    signalfd_siginfo info;
    while (::read(fd_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo != SIGCHLD) stop = static_cast<int>(info.ssi_signo);
    }
    return stop;
  }

 private:
  sigset_t before_ = {};
  Descriptor fd_;
};

// In the child, between fork and exec.
struct ChildSetup {
  const char* folder;
  const sigset_t* mask;

  template <class Launcher>
  bp::error_code on_exec_setup(Launcher&, const fs::path&, const char* const*) {
    // A program that crashes on purpose leaves no core file behind.
    const rlimit no_core{0, 0};
    // Descriptors that the caller inherited are not the program's. Its own stay: 0, 1, 2.
    if (::setrlimit(RLIMIT_CORE, &no_core) < 0 ||
        ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0 || ::chdir(folder) < 0 ||
        ::setpgid(0, 0) < 0 || ::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
        ::sigprocmask(SIG_SETMASK, mask, nullptr) < 0) {
      return {errno, bp::system_category()};
    }
    return {};
  }
};

class Folder {
 public:
  Folder() {
    auto pattern = (fs::temp_directory_path() / "lesson-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw_errno("mkdtemp");
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

class EnvironmentVariable {
 public:
  EnvironmentVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* text = std::getenv(name)) before_ = text;
    ::setenv(name, value.c_str(), 1);
  }
  ~EnvironmentVariable() {
    if (before_) {
      ::setenv(name_, before_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  EnvironmentVariable(const EnvironmentVariable&) = delete;
  EnvironmentVariable& operator=(const EnvironmentVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_ = {};
};

class Runner {
 public:
  explicit Runner(const Command& command)
      : command_(command), out_(start_, result_.out), err_(start_, result_.err) {}

  Outcome run() {
    // What the program leaves alone becomes a child of this process, and can be found.
    check(::prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl");
    auto shared_memory = shared_memory_names();
    launch();
    follow();
    out_.finish();
    err_.finish();
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      result_.left_over.push_back(
          fmt::format("the file {} was left behind", entry.path().filename().string()));
    }
    for (const auto& name : shared_memory_left(shared_memory)) {
      result_.left_over.push_back(fmt::format("/dev/shm/{} was left behind", name));
      fs::remove("/dev/shm/" + name);
    }
    return std::move(result_);
  }

 private:
  void launch() {
    EnvironmentVariable temporary("TMPDIR", folder_.path().string());
    boost::asio::io_context context;
    int err = command_.merge ? out_.write_end() : err_.write_end();
    try {
      bp::process process(context, fs::absolute(command_.program), command_.arguments,
                          bp::process_stdio{nullptr, out_.write_end(), err},
                          ChildSetup{folder_.path().c_str(), &signals_.mask_before()});
      result_.pid = process.id();
      // Reaped below, with all the others: none of them is Boost's to wait for.
      process.detach();
    } catch (const boost::system::system_error& error) {
      // Boost 1.81 leaves the child that could not exec behind.
      kill_all();
      throw std::system_error(error.code(), command_.program.string());
    }
    out_.started();
    err_.started();
  }

  // Until nothing is left that could print or run.
  void follow() {
    auto end = start_ + command_.deadline;
    while (true) {
      bool alone = reap();
      out_.read_all();
      err_.read_all();
      if (alone) return;
      if (ended_ && !grace_end_) grace_end_ = Clock::now() + command_.grace;
      auto until = grace_end_.value_or(end);
      if (Clock::now() >= until) return give_up();
      wait(until);
    }
  }

  void wait(Clock::time_point until) {
    std::array<pollfd, 3> polled = {{{signals_.descriptor(), POLLIN, 0},
                                     {out_.read_end(), POLLIN, 0},
                                     {err_.read_end(), POLLIN, 0}}};
    auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    ::poll(polled.data(), polled.size(), static_cast<int>(std::max<long>(left.count(), 0)));
    if (auto stop = signals_.read_all()) {
      kill_all();
      ::signal(*stop, SIG_DFL);
      ::raise(*stop);
      result_.timed_out = true;
    }
  }

  // Takes the status of each child that has ended. True if there are no children any more.
  bool reap() {
    while (true) {
      int status = 0;
      auto pid = ::waitpid(-1, &status, WNOHANG);
      if (pid == 0) return false;
      if (pid < 0 && errno == ECHILD) return true;
      if (pid < 0) throw_errno("waitpid");
      if (pid == result_.pid) note_end(status);
    }
  }

  void note_end(int status) {
    ended_ = true;
    result_.elapsed = Clock::now() - start_;
    result_.exit_code = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

  void give_up() {
    if (!ended_) result_.timed_out = true;
    auto table = process_table();
    for (auto pid : descendants(table, ::getpid())) {
      const auto& row = table.at(pid);
      if (!result_.timed_out && !row.has_ended()) {
        result_.left_over.push_back(
            fmt::format("process {} ({}) was still there {} ms after the end", pid, row.name,
                        command_.grace.count()));
      }
    }
    kill_all();
    out_.read_all();
    err_.read_all();
  }

  void kill_all() {
    while (!reap()) {
      for (auto pid : descendants(process_table(), ::getpid())) ::kill(pid, SIGKILL);
      // Blocks until one of them has ended; by then its children are children of this process.
      siginfo_t info;
      ::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
    }
  }

  const Command& command_;
  Clock::time_point start_ = Clock::now();
  Outcome result_ = {};
  Collector out_;
  Collector err_;
  Signals signals_ = {};
  Folder folder_ = {};
  bool ended_ = false;
  std::optional<Clock::time_point> grace_end_ = {};
};

std::vector<std::string> texts(const std::vector<TimedLine>& lines) {
  std::vector<std::string> result;
  for (const auto& line : lines) result.push_back(line.text);
  return result;
}

}  // namespace

Output Outcome::output() const { return {.out = texts(out), .err = texts(err)}; }

Outcome run(const Command& command) { return Runner(command).run(); }

}  // namespace mp::test
