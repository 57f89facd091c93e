// The life of a worker process.

#include "worker.hpp"

#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <fstream>

#include "lane.hpp"
#include "mp/detail/item_run.hpp"
#include "mp/detail/workers.hpp"
#include "mp/errors.hpp"
#include "mp/logging.hpp"
#include "mp/process.hpp"
#include "mp/remote_error.hpp"
#include "process_state.hpp"

namespace mp::detail {

namespace {

// How often, in nanoseconds, the memory of a worker is looked at.
constexpr std::int64_t memory_interval = 5'000'000;

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

constexpr int last_signal = 64;

void block_signals(std::uint64_t wanted) {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (int signal = 1; signal <= last_signal; ++signal) {
    if ((wanted >> (signal - 1) & 1U) != 0) ::sigaddset(&signals, signal);
  }
  ::sigprocmask(SIG_SETMASK, &signals, nullptr);
}

void settle_in(const WorkerSeat& seat) {
  // Ctrl-C is the program's to answer. A handler, not SIG_IGN, which what a
  // task executes would inherit.
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  nothing.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &nothing, nullptr);
  // Who replaces a worker is the service thread, and that blocks them all.
  block_signals(seat.blocked_signals);
  // As glibc itself does once a large block was freed: arguments and results
  // of megabytes come and go without their pages being mapped anew each time.
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  // Whatever its tasks leave behind stays findable: see kill_tree().
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  set_default_workers(seat.default_workers);
  // A worker ends with its parent, as a daemon does, and may have children.
  current_state()->may_have_children = true;
}

class Worker final : public Task {
 public:
  Worker(WorkerSeat seat, std::shared_ptr<Task> initializer)
      : seat_(std::move(seat)), initializer_(std::move(initializer)) {}

  void run() override {
    settle_in(seat_);
    Lane lane(LaneMemory::attach(std::move(seat_.lane)), std::move(seat_.bell));
    initialize(lane);
    lane.header().stage.store(LaneHeader::ready, std::memory_order_release);
    // There may be tasks that wait for others that are not.
    lane.ring();
    const CurrentTaskProgress current(&lane.header().progress);
    const std::uint64_t at_first = resident_bytes();
    std::int64_t looked = monotonic_now();
    while (lane.next() != nullptr) {
      ItemRun(lane).run();
      if (seat_.max_rss != 0) look_at_memory(lane, looked, at_first);
    }
    lane.header().stage.store(LaneHeader::leaving, std::memory_order_release);
  }

  void pickle(Encoder& out) const override {
    out.code(reinterpret_cast<const void*>(static_cast<Reviver>(&revive)));
    out.descriptor(seat_.lane.get());
    out.descriptor(seat_.bell.get());
    encode(out, seat_.default_workers);
    encode(out, seat_.max_rss);
    encode(out, seat_.blocked_signals);
    encode(out, initializer_ != nullptr);
    if (initializer_) initializer_->pickle(out);
  }

 private:
  static std::unique_ptr<Task> revive(Decoder& in) {
    WorkerSeat seat;
    seat.lane = in.descriptor();
    seat.bell = in.descriptor();
    seat.default_workers = decode<int>(in);
    seat.max_rss = decode<std::uint64_t>(in);
    seat.blocked_signals = decode<std::uint64_t>(in);
    std::shared_ptr<Task> initializer;
    if (decode<bool>(in)) initializer = Task::unpickle(in);
    return std::make_unique<Worker>(std::move(seat), std::move(initializer));
  }

  void initialize(Lane& lane) {
    if (!initializer_) return;
    try {
      initializer_->run();
      initializer_.reset();
    } catch (...) {
      log(logging::critical, "Exception in initializer: {}",
          describe_exception(std::current_exception()));
      Encoder error;
      encode_current_exception(error, current_process().name());
      lane.commit({.kind = ResultEntry::Kind::no_initializer, .last = true}, error.view());
      mp::exit(1);
    }
  }

  void look_at_memory(Lane& lane, std::int64_t& looked, std::uint64_t at_first) const {
    const std::int64_t now = monotonic_now();
    if (now - looked < memory_interval) return;
    looked = now;
    const auto has_grown = [&] { return resident_bytes() > at_first + seat_.max_rss; };
    if (!has_grown()) return;
    // What the tasks have freed is no growth.
    ::malloc_trim(0);
    if (has_grown()) {
      lane.header().wants_to_leave.store(1, std::memory_order_release);
      lane.ring();
    }
  }

  WorkerSeat seat_;
  std::shared_ptr<Task> initializer_;
};

}  // namespace

std::uint64_t blocked_signals() noexcept {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::pthread_sigmask(SIG_SETMASK, nullptr, &signals);
  std::uint64_t blocked = 0;
  for (int signal = 1; signal <= last_signal; ++signal) {
    if (::sigismember(&signals, signal) == 1) blocked |= std::uint64_t{1} << (signal - 1);
  }
  return blocked;
}

std::unique_ptr<Task> make_worker(WorkerSeat seat, std::shared_ptr<Task> initializer) {
  return std::make_unique<Worker>(std::move(seat), std::move(initializer));
}

}  // namespace mp::detail
