// All process pools of this process, for those moments that concern them all:
// a fork, after which the child's copies are dead, and Ctrl-C.

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "interrupt.hpp"
#include "mp/detail/exit_work.hpp"
#include "process_engine.hpp"
#include "process_state.hpp"
#include "worker_death.hpp"

namespace mp::detail {

namespace {

struct Engines {
  ForkSafeMutex mutex;
  std::vector<ProcessEngine*> all;
};
Engines& engines() {
  static auto& instance = *new Engines;
  return instance;
}

void forget_engines() {
  forget_interrupts();
  // Half changed by another thread of the parent? Then what they own stays
  // open here, and does no harm.
  if (engines().mutex.locked()) return;
  for (ProcessEngine* engine : engines().all) engine->abandon_in_child();
  engines().all.clear();
}

bool any_running(const std::vector<ProcessEngine*>& all) {
  return std::any_of(all.begin(), all.end(),
                     [](ProcessEngine* engine) { return engine->has_running_tasks(); });
}

// Until no task runs, the grace is over, or SIGINT comes again.
void wait_for_running(const std::vector<ProcessEngine*>& all, const Deadline& grace) {
  constexpr int step = 10;  // Milliseconds. Nobody rings for what is only begun.
  while (any_running(all) && !grace.passed() && interrupts() < 2) {
    pollfd entry{interrupt_fd(), 0, 0};
    ::poll(&entry, 1, step);
  }
}

}  // namespace

void ProcessEngine::enroll() {
  static const bool once = (after_fork_in_child(forget_engines), true);
  (void)once;
  const std::lock_guard guard(engines().mutex);
  engines().all.push_back(this);
}

void ProcessEngine::sign_off() noexcept {
  const std::lock_guard guard(engines().mutex);
  std::erase(engines().all, this);
}

void ProcessEngine::abandon_in_child() noexcept {
  if (mutex_.locked()) return;
  for (const auto& lane : lanes_) lane->abandon_in_child();
  bell_.reset();
}

bool ProcessEngine::has_running_tasks() const {
  const std::lock_guard guard(mutex_);
  return std::any_of(lanes_.begin(), lanes_.end(), [](const auto& lane) {
    return lane->header().task.load(std::memory_order_acquire) != 0;
  });
}

void ProcessEngine::stop_handing_out() {
  const std::lock_guard guard(mutex_);
  interrupted_ = true;
  for (const auto& lane : lanes_) {
    while (auto share = lane->take_newest()) put_back(*std::move(share));
  }
}

void ProcessEngine::kill_workers() {
  const std::lock_guard guard(mutex_);
  for (const auto& lane : lanes_) {
    if (lane->process.is_alive()) kill_tree(lane->pid);
  }
}

// In the service thread that noticed. Results are not told any more: who waits
// for one waits until the end, and is not surprised by half a program.
void ProcessEngine::end_program() {
  static std::atomic<bool> begun{false};
  // One thread ends the program; the others have nothing left to serve.
  while (begun.exchange(true)) ::pause();
  // Held to the end: no engine comes or goes any more.
  engines().mutex.lock();
  const auto& all = engines().all;
  std::size_t workers = 0;
  Duration grace{};
  for (ProcessEngine* engine : all) {
    engine->stop_handing_out();
    workers += engine->pids().size();
    grace = std::max(grace, engine->options().grace);
  }
  write_all(STDERR_FILENO,
            fmt::format("\ninterrupted: ending {} workers (Ctrl-C again: without waiting for what "
                        "they are at)\n",
                        workers));
  wait_for_running(all, Deadline(grace));
  hurry_interrupts();
  for (ProcessEngine* engine : all) {
    engine->kill_workers();
    // Its end is this one: nobody is told of it.
    remove_exit_work(engine->exit_work_);
  }
  flush_streams();
  run_exit_work();
  flush_streams();
  ::_exit(exit_code_of_interrupt);
}

}  // namespace mp::detail
