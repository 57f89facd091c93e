#include "mp/pool.hpp"

#include <ostream>

#include "mp/logging.hpp"
#include "mp/process.hpp"

namespace mp {
namespace detail {

namespace {

std::size_t worker_count(std::optional<int> processes) {
  if (processes && *processes < 1) throw ValueError("Number of processes must be at least 1");
  return static_cast<std::size_t>(processes ? *processes : default_workers());
}

}  // namespace

template <bool Processes>
Engine& BasicPool<Processes>::own() const {
  if (!engine_->is_own()) throw AssertionError("a pool belongs to the process that made it");
  return *engine_;
}

template <bool Processes>
Timeout BasicPool<Processes>::limit(Timeout timeout) const {
  if (!Processes && timeout) throw ValueError("a thread cannot be stopped: timeout needs a Pool");
  return timeout ? timeout : timeout_;
}

template <bool Processes>
void BasicPool<Processes>::submit(std::shared_ptr<Job> job, bool is_done, const Signal* signal) {
  Engine& engine = own();
  if (is_done) {
    if (engine.phase() != Engine::Phase::running) throw ValueError("Pool not running");
    return;
  }
  job->engine = engine_;
  switch (engine.submit(std::move(job), signal)) {
    case Engine::Answer::accepted:
      return;
    case Engine::Answer::closed:
      throw ValueError("Pool not running");
    case Engine::Answer::broken:
      std::rethrow_exception(engine.broken());
  }
}

template <bool Processes>
StreamRules BasicPool<Processes>::imap_rules(bool ordered, const ImapOptions& options) const {
  require_valid(options);
  return detail::imap_rules(ordered, options, own().size(), limit(options.timeout));
}

template <bool Processes>
std::string BasicPool<Processes>::repr() const {
  static constexpr const char* names[] = {"RUN", "CLOSE", "TERMINATE"};
  return fmt::format("<multiprocessing.pool.{} state={} pool_size={}>",
                     Processes ? "Pool" : "ThreadPool",
                     names[static_cast<std::size_t>(own().phase())], engine_->size());
}

template <bool Processes>
void BasicPool<Processes>::drop() noexcept {
  if (!engine_) return;
  if (!engine_->is_own()) {
    // A forked child's copy: threads, locks and workers are its parent's.
    new std::shared_ptr<Engine>(std::move(engine_));
    return;
  }
  const std::size_t dropped = engine_->unfinished();
  if (dropped != 0 && engine_->phase() == Engine::Phase::running) {
    log(logging::warning, "unclosed running multiprocessing pool {}: {} unfinished tasks dropped",
        repr(), dropped);
  }
  engine_->terminate(std::make_exception_ptr(
      PoolTerminated("the pool was destroyed before the result was there")));
  engine_->dismiss();
}

template class BasicPool<true>;
template class BasicPool<false>;

}  // namespace detail

namespace {

detail::EngineOptions engine_options(PoolOptions& options,
                                     std::unique_ptr<detail::Task> initializer) {
  if (options.maxtasksperchild && *options.maxtasksperchild < 1) {
    throw ValueError("maxtasksperchild must be a positive int or None");
  }
  detail::EngineOptions engine;
  engine.workers = detail::worker_count(options.processes);
  engine.name = "PoolWorker";
  engine.start_method = options.start_method;
  engine.initializer = std::move(initializer);
  if (options.maxtasksperchild) {
    engine.max_tasks = static_cast<std::size_t>(*options.maxtasksperchild);
  }
  engine.max_rss = options.max_rss;
  engine.on_death = options.on_worker_death;
  engine.grace = options.grace;
  engine.on_progress = std::move(options.on_progress);
  return engine;
}

}  // namespace

Pool::Pool(PoolOptions options) : Pool(std::move(options), std::unique_ptr<detail::Task>()) {}

Pool::Pool(PoolOptions options, std::unique_ptr<detail::Task> initializer)
    : BasicPool(detail::Engine::of_processes(engine_options(options, std::move(initializer))),
                options.timeout) {}

ThreadPool::ThreadPool(std::optional<int> processes, std::function<void()> initializer)
    : BasicPool(detail::Engine::of_threads({.workers = detail::worker_count(processes),
                                            .name = "ThreadPool",
                                            .thread_initializer = std::move(initializer)})) {}

std::ostream& operator<<(std::ostream& out, const Pool& pool) { return out << pool.repr(); }
std::ostream& operator<<(std::ostream& out, const ThreadPool& pool) { return out << pool.repr(); }

}  // namespace mp
