// The service thread of a process pool: what happens whether or not anybody
// waits for it. Results are read, the dead are buried (in
// process_burial.cpp), time limits enforced, workers replaced.

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "interrupt.hpp"
#include "mp/executor_errors.hpp"
#include "mp/logging.hpp"
#include "mp/remote_error.hpp"
#include "process_engine.hpp"
#include "process_state.hpp"
#include "service_thread.hpp"
#include "worker_death.hpp"

namespace mp::detail {

namespace {

using namespace std::chrono_literals;

}  // namespace

void ProcessEngine::ensure_service() {
  const auto self = std::static_pointer_cast<ProcessEngine>(shared_from_this());
  const std::lock_guard guard(mutex_);
  if (serving_ || gone_) return;
  // Only while there is a thread that answers it.
  watch_interrupts();
  ++service_threads();
  try {
    service_ = std::thread([self] { self->serve(); });
  } catch (...) {
    --service_threads();
    unwatch_interrupts();
    throw;
  }
  serving_ = true;
}

void ProcessEngine::serve() noexcept {
  // Signals are for the program's own threads.
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  ::pthread_setname_np(::pthread_self(), service_thread_name);
  for (bool more = true; more;) {
    try {
      more = serve_once();
    } catch (...) {
      break_pool(std::make_exception_ptr(BrokenProcessPool(
          "the pool cannot go on: " + describe_exception(std::current_exception()))));
    }
  }
  unwatch_interrupts();
  {
    const std::lock_guard guard(mutex_);
    serving_ = false;
    gone_ = true;
  }
  --service_threads();
  ended_.change();
}

// False when nothing is left to serve.
bool ProcessEngine::serve_once() {
  work();
  bury_dead();
  enforce_limits();
  retire_workers();
  replace_workers();
  std::vector<Refused> refused;
  bool all_gone = false;
  {
    const std::lock_guard guard(mutex_);
    feed();
    let_go();
    refused = std::exchange(refused_, {});
    all_gone = lanes_.empty() && starting_ == 0 && phase_ != Phase::running &&
               (unsettled_ == 0 || broken_ || phase_ == Phase::terminated);
  }
  for (const auto& [share, error] : refused) fail_share(share, error);
  if (all_gone) return false;
  sleep_until_news();
  return true;
}

// The earliest moment at which something is to be done unasked.
Timeout ProcessEngine::next_event() const {
  Timeout least;
  const auto earlier = [&](Duration in) {
    in = std::max(in, Duration::zero());
    if (!least || in < *least) least = in;
  };
  if (look_soon_) earlier(patience);
  if (kill_at_) earlier(*kill_at_ - Clock::now());
  if (lacks_workers_) earlier(100ms);
  const std::int64_t now = monotonic_now();
  for (const auto& lane : lanes_) {
    if (lane->tasks().empty() || !shortest_limit_) continue;
    // What has not begun yet cannot be over its time before that.
    earlier(*shortest_limit_);
    const auto* task = lane->current();
    if (task == nullptr || !task->limit) continue;
    earlier(*task->limit - Duration(now - lane->header().begun_at.load()));
  }
  return least;
}

void ProcessEngine::sleep_until_news() {
  std::vector<pollfd> entries{{bell_.get(), POLLIN, 0}, {interrupt_fd(), POLLIN, 0}};
  Timeout timeout;
  {
    const std::lock_guard guard(mutex_);
    if (spinners_ == 0 && !arm()) return;
    for (const auto& lane : lanes_) entries.push_back({lane->process.sentinel(), POLLIN, 0});
    timeout = next_event();
    service_looks_ = look_soon_;
    service_sleeps_ = true;
    service_nap_ = timeout.value_or(Duration::max());
  }
  timespec left{};
  if (timeout) {
    // Rounded up: too early would be a loop.
    const auto wait = *timeout + 50us;
    left.tv_sec = wait / 1s;
    left.tv_nsec = (wait % 1s).count();
  }
  ::ppoll(entries.data(), entries.size(), timeout ? &left : nullptr, nullptr);
  if (interrupts() != 0) end_program();
  std::uint64_t rings = 0;
  (void)!::read(bell_.get(), &rings, sizeof rings);
  const std::lock_guard guard(mutex_);
  service_looks_ = false;
  service_sleeps_ = false;
}

// --- limits ------------------------------------------------------------------

// Whether it is at a task that has had its time: for sure only while it is
// stopped and its results are read.
bool ProcessEngine::is_over_limit(const WorkerLane& lane) {
  const auto* task = lane.current();
  if (task == nullptr || !task->limit || lane.killed_for != 0) return false;
  if (lane.header().task.load() != task->id) return false;
  return Duration(monotonic_now() - lane.header().begun_at.load()) >= *task->limit;
}

void ProcessEngine::enforce_limits() {
  std::vector<WorkerLane*> over;
  bool kill_now = false;
  {
    const std::lock_guard guard(mutex_);
    for (const auto& lane : lanes_) {
      if (is_over_limit(*lane)) over.push_back(lane.get());
    }
    kill_now = kill_at_ && Clock::now() >= *kill_at_;
    if (kill_now) kill_at_.reset();
  }
  for (WorkerLane* lane : over) end_for_limit(*lane);
  if (!kill_now) return;
  const std::lock_guard guard(mutex_);
  for (const auto& lane : lanes_) {
    if (lane->doomed) lane->process.kill();
  }
}

// Who is found over its limit may be done, and at the next task, a moment
// later: only what has stopped stays at what it is at.
void ProcessEngine::end_for_limit(WorkerLane& lane) {
  stop_process(lane.pid);
  Batch batch;
  bool over = false;
  {
    const std::lock_guard guard(mutex_);
    lane.drain(batch);
    requeue_given_back(batch);
    count(batch);
    over = is_over_limit(lane);
    if (over) lane.killed_for = lane.current()->id;
  }
  if (over) {
    kill_tree(lane.pid);
  } else {
    ::kill(lane.pid, SIGCONT);
  }
  tell(batch);
}

// --- coming and going ----------------------------------------------------------

// A worker that has grown too large is let go; what waits in its lane goes to
// others.
void ProcessEngine::retire_workers() {
  const std::lock_guard guard(mutex_);
  for (const auto& lane : lanes_) {
    if (lane->closing()) continue;
    if (lane->header().wants_to_leave.load(std::memory_order_acquire) != 0) {
      while (auto share = lane->take_newest()) put_back(*std::move(share));
      lane->close();
    }
  }
}

void ProcessEngine::replace_workers() {
  for (;;) {
    {
      const std::lock_guard guard(mutex_);
      lacks_workers_ = false;
      if (broken_ || interrupted_ || phase_ == Phase::terminated) return;
      if (phase_ == Phase::closed && unsettled_ == 0) return;
      if (lanes_.size() + starting_ >= wanted_workers()) break;
      ++starting_;
    }
    std::unique_ptr<WorkerLane> lane;
    std::exception_ptr refusal;
    try {
      lane = start_worker();
    } catch (...) {
      refusal = std::current_exception();
    }
    bool none_left = false;
    {
      const std::lock_guard guard(mutex_);
      --starting_;
      if (lane) admit(std::move(lane));
      none_left = lanes_.empty() && starting_ == 0;
      lacks_workers_ = refusal != nullptr;
    }
    if (!refusal) continue;
    log(logging::warning, "a worker could not be started: {}", describe_exception(refusal));
    if (none_left) {
      break_pool(std::make_exception_ptr(
          BrokenProcessPool("no worker could be started: " + describe_exception(refusal))));
    }
    return;  // Tried again in a while.
  }
}

// A pool keeps its size; an executor has as many as it has work for.
std::size_t ProcessEngine::wanted_workers() const {
  if (!options_.on_demand) return options_.workers;
  if (chosen_method(options_.start_method) == StartMethod::fork) {
    return options_.workers;
  }
  return std::min(options_.workers, lanes_.size() + pending_.size());
}

// --- the end -----------------------------------------------------------------

void ProcessEngine::terminate(const std::exception_ptr& error, bool kill) {
  {
    const std::lock_guard guard(mutex_);
    if (phase_ == Phase::terminated && !kill) return;
    phase_ = Phase::terminated;
  }
  end_everything(error, kill);
}

void ProcessEngine::admit(std::unique_ptr<WorkerLane> lane) {
  // It has not begun anything that could be ended in order.
  if (ending_) end_worker(*lane, true);
  lanes_.push_back(std::move(lane));
}

void ProcessEngine::end_worker(WorkerLane& lane, bool kill) {
  lane.doomed = true;
  try {
    kill ? lane.process.kill() : lane.process.terminate();
  } catch (const std::system_error& refused) {
    log(logging::warning, "{} could not be signalled: {}", lane.name, refused.what());
  }
}

// Fails all that there is and ends the workers.
void ProcessEngine::end_everything(const std::exception_ptr& error, bool kill) {
  std::deque<Share> lost;
  Batch batch;
  {
    const std::lock_guard guard(mutex_);
    if (!ending_) ending_ = error;
    read_lanes(batch);
    count(batch);
    lost = take_pending();
    for (Refused& one : std::exchange(refused_, {})) lost.push_back(std::move(one.share));
    for (const auto& lane : lanes_) {
      for (Share& share : lane->forget_tasks()) lost.push_back(std::move(share));
      end_worker(*lane, kill);
    }
    kill_at_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(options_.grace);
    ring();
  }
  tell(batch);
  for (const Share& share : lost) fail_share(share, error);
}

bool ProcessEngine::in_own_thread() {
  const std::lock_guard guard(mutex_);
  return service_.get_id() == std::this_thread::get_id();
}

bool ProcessEngine::join_workers(const Deadline& deadline) {
  for (;;) {
    const std::uint32_t seen = ended_.value();
    {
      const std::lock_guard guard(mutex_);
      if (!service_.joinable() && !serving_) return true;
      if (gone_) return true;
    }
    if (!ended_.wait(seen, deadline)) return false;
  }
}

void ProcessEngine::dismiss() noexcept {
  const bool all_ended = join(Deadline());
  std::thread service;
  {
    const std::lock_guard guard(mutex_);
    service = std::move(service_);
  }
  if (!service.joinable()) return;
  if (all_ended) {
    service.join();
  } else {
    service.detach();
  }
}

void ProcessEngine::release() noexcept {
  const std::lock_guard guard(mutex_);
  if (service_.joinable()) service_.detach();
}

std::shared_ptr<Engine> Engine::of_processes(EngineOptions options) {
  auto engine = std::make_shared<ProcessEngine>(std::move(options));
  engine->open();
  return engine;
}

}  // namespace mp::detail
