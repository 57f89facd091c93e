#include "mp/futures.hpp"

#include <atomic>

#include "mp/logging.hpp"
#include "mp/process.hpp"

namespace mp::futures {
namespace detail {

namespace {

std::size_t worker_count(std::optional<int> max_workers, int fallback) {
  if (max_workers && *max_workers < 1) throw ValueError("max_workers must be greater than 0");
  return static_cast<std::size_t>(max_workers.value_or(fallback));
}

}  // namespace

template <bool Processes>
Engine& BasicExecutor<Processes>::own() const {
  if (!engine_->is_own()) {
    throw AssertionError("an executor belongs to the process that made it");
  }
  return *engine_;
}

template <bool Processes>
Timeout BasicExecutor<Processes>::limit(Timeout timeout) const {
  if (!Processes && timeout) {
    throw ValueError("a thread cannot be stopped: timeout needs a ProcessPoolExecutor");
  }
  return timeout ? timeout : timeout_;
}

template <bool Processes>
void BasicExecutor<Processes>::hand_in(std::shared_ptr<Job> job, bool is_done) {
  Engine& engine = own();
  if (const auto broken = engine.broken()) std::rethrow_exception(broken);
  if (is_done && engine.phase() == Engine::Phase::running) return;
  job->engine = engine_;
  switch (engine.submit(std::move(job))) {
    case Engine::Answer::accepted:
      return;
    case Engine::Answer::closed:
      throw RuntimeError("cannot schedule new futures after shutdown");
    case Engine::Answer::broken:
      std::rethrow_exception(engine.broken());
  }
}

template <bool Processes>
StreamRules BasicExecutor<Processes>::map_rules(const ExecutorMapOptions& options) const {
  if (options.chunksize && *options.chunksize < 1) throw ValueError("chunksize must be >= 1.");
  if (options.buffersize && *options.buffersize < 1) {
    throw ValueError("buffersize must be None or > 0");
  }
  Engine& engine = own();
  if (const auto broken = engine.broken()) std::rethrow_exception(broken);
  if (engine.phase() != Engine::Phase::running) {
    throw RuntimeError("cannot schedule new futures after shutdown");
  }
  StreamRules rules{.ends_at_error = true, .limit = timeout_};
  rules.chunk = static_cast<std::size_t>(options.chunksize.value_or(automatic_chunks));
  rules.window = static_cast<std::size_t>(-1);
  if (options.buffersize) {
    rules.window = static_cast<std::size_t>(*options.buffersize);
    rules.chunk = std::max<std::size_t>(rules.chunk, 1);
  }
  return rules;
}

template <bool Processes>
void BasicExecutor<Processes>::shutdown(bool wait, bool cancel_futures) {
  Engine& engine = own();
  engine.close();
  if (cancel_futures) engine.cancel_pending();
  if (wait) engine.join(Deadline());
}

template <bool Processes>
void BasicExecutor<Processes>::drop() noexcept {
  if (!engine_->is_own()) {
    // A forked child's copy: threads, locks and workers are its parent's.
    new std::shared_ptr<Engine>(std::move(engine_));
    return;
  }
  // After shutdown(wait = false) the work goes on without its handle.
  const bool left_alone = engine_->phase() == Engine::Phase::closed &&
                          !engine_->join(mp::detail::Deadline(Duration::zero()));
  engine_->close();
  if (left_alone) {
    engine_->release();
  } else {
    engine_->dismiss();
  }
}

template class BasicExecutor<true>;
template class BasicExecutor<false>;

}  // namespace detail

namespace {

detail::EngineOptions engine_options(ProcessPoolOptions& options,
                                     std::unique_ptr<detail::Task> initializer) {
  detail::EngineOptions engine;
  engine.workers = detail::worker_count(options.max_workers, detail::default_workers());
  if (options.max_tasks_per_child && *options.max_tasks_per_child < 1) {
    throw ValueError("max_tasks_per_child must be >= 1");
  }
  engine.name = "Process";
  engine.start_method = options.start_method;
  engine.initializer = std::move(initializer);
  if (options.max_tasks_per_child) {
    engine.max_tasks = static_cast<std::size_t>(*options.max_tasks_per_child);
  }
  engine.max_rss = options.max_rss;
  engine.on_death = options.on_worker_death;
  engine.grace = options.grace;
  engine.on_demand = true;
  engine.drain_at_exit = true;
  engine.on_progress = std::move(options.on_progress);
  return engine;
}

detail::EngineOptions engine_options(ThreadPoolOptions& options,
                                     std::function<void()> initializer) {
  static std::atomic<int> counted{0};
  detail::EngineOptions engine;
  engine.workers = detail::worker_count(options.max_workers, std::min(32, process_cpu_count() + 4));
  engine.name = std::move(options.thread_name_prefix);
  if (engine.name.empty()) engine.name = fmt::format("ThreadPoolExecutor-{}", counted++);
  engine.thread_initializer = std::move(initializer);
  engine.on_demand = true;
  engine.drain_at_exit = true;
  return engine;
}

std::exception_ptr shut_down_by_force() {
  return std::make_exception_ptr(
      BrokenProcessPool("the process pool was forcefully shut down while the future was running"));
}

}  // namespace

ProcessPoolExecutor::ProcessPoolExecutor(ProcessPoolOptions options)
    : ProcessPoolExecutor(std::move(options), std::unique_ptr<detail::Task>()) {}

ProcessPoolExecutor::ProcessPoolExecutor(ProcessPoolOptions options,
                                         std::unique_ptr<detail::Task> initializer)
    : BasicExecutor(detail::Engine::of_processes(engine_options(options, std::move(initializer))),
                    options.timeout) {}

void ProcessPoolExecutor::terminate_workers() {
  shutdown(false, true);
  own().terminate(shut_down_by_force());
}

void ProcessPoolExecutor::kill_workers() {
  shutdown(false, true);
  own().terminate(shut_down_by_force(), true);
}

ThreadPoolExecutor::ThreadPoolExecutor(ThreadPoolOptions options, std::function<void()> initializer)
    : BasicExecutor(detail::Engine::of_threads(engine_options(options, std::move(initializer)))) {}

}  // namespace mp::futures
