#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include "mp/context.hpp"
#include "mp/detail/callable.hpp"
#include "mp/detail/future_state.hpp"
#include "mp/detail/os.hpp"
#include "mp/on_worker_death.hpp"
#include "mp/pickle.hpp"
#include "mp/progress.hpp"

namespace mp::detail {

class Engine;

/// How many workers a pool has unless told: process_cpu_count(); in a worker
/// its share of that, so that nested pools do not multiply.
int default_workers();
/// Says what share that is, in a new worker.
void set_default_workers(int count);

/// What a worker calls, for error texts.
struct Callee {
  const void* code = nullptr;  ///< A function's address, if it is one.
  const std::type_info* type = nullptr;
  [[nodiscard]] std::string name() const;
};

/// A chunk size that the engine chooses by measured time.
inline constexpr std::size_t automatic_chunks = 0;

/// Input that is read while its results are, and not all at once.
class OpenInput {
 public:
  OpenInput() = default;
  OpenInput(const OpenInput&) = delete;
  OpenInput& operator=(const OpenInput&) = delete;
  virtual ~OpenInput() = default;
  /// Reads all the rest and submits it, until the deadline: somebody waits for the
  /// end of the workers, so nobody may be there to take results.
  virtual void read_on(const Deadline& deadline) = 0;
};

/// Something to do: `count` items, each with its arguments, and where the results go.
///
/// Each item is settled exactly once, by deliver() or fail(), in whatever
/// order and by whatever thread the engine uses, several at once included; no
/// lock is held meanwhile. Once the item of a job that has only one is settled,
/// an engine of processes does not look at that job any more.
class Job {
 public:
  Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  virtual ~Job() = default;

  /// Results of the items [first, first + count), from a worker process.
  /// Returns how many of them turned out to be failures.
  virtual std::size_t deliver(std::size_t first, std::size_t count, Decoder& values) = 0;
  virtual void fail(std::size_t first, std::size_t count, const std::exception_ptr& error) = 0;
  /// Runs and settles these items, in a thread of this process; likewise.
  virtual std::size_t run(std::size_t first, std::size_t count) = 0;
  /// These items will not be run, as their executor was told to cancel them.
  virtual void cancel_items(std::size_t first, std::size_t count);
  /// Whether all items are settled, where that is known at once.
  [[nodiscard]] virtual bool finished() const noexcept { return false; }

  // --- set before submit(), not changed afterwards ---
  std::size_t count = 1;
  std::size_t chunk = 1;  ///< Items in a message; automatic_chunks.
  Timeout limit = {};     ///< How long a task may run.
  Callee callee = {};
  bool of_open_input = false;         ///< Of an input that keep_open() was told of.
  Encoder head;                       ///< The runner's place in the code, the callable.
  Encoder items;                      ///< The items' arguments, one after the other.
  std::size_t stride = 0;             ///< The size of each, if all are equal;
  std::vector<std::uint64_t> starts;  ///< else where each begins, and the end.
  std::shared_ptr<Engine> engine;

  // --- the engine's, under its mutex ---
  /// Learns how long `n` items took.
  void measured(std::size_t n, Duration elapsed);
  std::uint64_t id = 0;
  double item_nanoseconds = 0;  ///< Measured; 0: not yet.
  std::size_t last_chunk = 0;
  bool unwanted = false;  ///< Nobody waits for it any more.
};

/// Consecutive items of a job, as they are handed out.
struct Share {
  std::shared_ptr<Job> job;
  std::size_t first = 0;
  std::size_t count = 0;
  int deaths = 0;        ///< How many workers died of it.
  Duration budget = {};  ///< Hand back what is not done by then; zero: no limit.
};

struct EngineOptions {
  std::size_t workers = 1;
  std::string name = {};  ///< Of processes: the class's, "PoolWorker"; of threads: the prefix.
  std::optional<StartMethod> start_method = {};
  std::shared_ptr<Task> initializer = {};
  std::function<void()> thread_initializer = {};
  std::optional<std::size_t> max_tasks = {};
  std::uint64_t max_rss = 0;
  OnWorkerDeath on_death = {};
  Duration grace = std::chrono::seconds(1);
  bool on_demand = false;      ///< A worker is started when there is a task and none is idle.
  bool drain_at_exit = false;  ///< At the program's end: wait for the tasks, or drop them.
  std::function<void(const Progress&)> on_progress = {};
};

/// Workers and what is queued for them; what Pool and the executors share.
///
/// Invariants, all under `mutex_`:
///   1. An item is in exactly one place: in `pending_`, in a worker's hand
///      (the derived class's), or settled (or being settled, by one thread).
///   2. `unsettled_` counts the items of the first two places, those being
///      settled, and the open inputs. Only at zero does a closed engine let its
///      workers go.
///   3. The phase only goes forward: running, closed, terminated.
/// Shared ownership: the pool's handle, each of its jobs and its threads.
class Engine : public std::enable_shared_from_this<Engine> {
 public:
  enum class Phase : unsigned char { running, closed, terminated };
  enum class Answer : unsigned char { accepted, closed, broken };

  static std::shared_ptr<Engine> of_processes(EngineOptions options);
  static std::shared_ptr<Engine> of_threads(EngineOptions options);

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  /// Queues the job, or says why not. Throws what starting a worker throws.
  /// With `signal`, which changes from 0 when the job is settled: helps at once, as
  /// help() does and without a deadline; nobody need be woken for the result.
  Answer submit(std::shared_ptr<Job> job, const Signal* signal = nullptr);
  /// Drops what no worker has begun; it will be neither delivered nor failed.
  /// Returns the number of items dropped. Nobody wants the others either.
  std::size_t take_back(Job& job);
  /// Whether a worker has an item of it in hand, or had.
  [[nodiscard]] virtual bool has_begun(const Job& job) const = 0;
  /// Waits for `signal` to change from `seen`, as some of `wanted` is settled,
  /// or of any job if that is null, doing the engine's work meanwhile where
  /// that is faster than sleeping. Throws AssertionError in a forked child.
  void help(const Signal& signal, std::uint32_t seen, const Deadline& deadline,
            const Job* wanted = nullptr);

  /// A closed engine takes jobs of this input still, and has workers for them, until
  /// input_ended(). Empty: an input of others, who read it on themselves. Throws
  /// ValueError if it is closed already, the reason if it is broken.
  void keep_open(std::weak_ptr<OpenInput> input);
  void input_ended();

  /// Cancels all that no worker has begun.
  void cancel_pending();
  /// No more jobs but of open inputs; the workers end when all is done.
  void close();
  /// Fails all that is unsettled with `error` and ends the workers: at once
  /// by SIGKILL if `kill`, else by SIGTERM with a grace.
  virtual void terminate(const std::exception_ptr& error, bool kill = false) = 0;
  /// Waits until the workers of a closed engine have ended, and has its open
  /// inputs read on for that; false at once in one of its own threads.
  bool join(const Deadline& deadline);
  /// For a destructor: waits likewise, and lets go of its threads.
  virtual void dismiss() noexcept = 0;
  /// The same without waiting: a closed engine goes on until all is done.
  virtual void release() noexcept = 0;

  [[nodiscard]] Phase phase() const;
  /// Why it is of no use any more; null while it is.
  [[nodiscard]] std::exception_ptr broken() const;
  [[nodiscard]] virtual Progress progress() const;
  /// Items that are queued or running and still wanted.
  [[nodiscard]] std::size_t unfinished() const;
  [[nodiscard]] std::size_t size() const noexcept { return options_.workers; }
  [[nodiscard]] const EngineOptions& options() const noexcept { return options_; }
  /// The processes, ended ones excluded; empty for threads.
  [[nodiscard]] virtual std::vector<int> pids() const { return {}; }
  /// Whether this process made it. In a forked child an engine is a dead
  /// copy: nothing but this may be called.
  [[nodiscard]] bool is_own() const noexcept { return creator_ == fork_generation(); }

 protected:
  explicit Engine(EngineOptions options);

  /// The wait in join().
  virtual bool join_workers(const Deadline& deadline) = 0;
  [[nodiscard]] virtual bool in_own_thread() = 0;

  virtual void help_own(const Signal& signal, std::uint32_t seen, const Deadline& deadline,
                        const Job* wanted) = 0;

  /// After a job was queued, or the phase changed. The mutex is held.
  virtual void wake_workers() = 0;
  /// After a job was queued whose submitter waits: the same, and a help_own() that
  /// may begin with the mutex it has.
  virtual void wake_workers_and_help(std::unique_lock<ForkSafeMutex> /*lock*/,
                                     const Signal& /*signal*/) {
    wake_workers();
  }
  /// Before a job is queued, or refused, the mutex not held: may start workers,
  /// may throw.
  virtual void prepare() {}

  /// The next chunk of what is pending; empty job if there is none.
  Share take_share();
  void put_back(Share share) { pending_.push_front(std::move(share)); }
  /// To be called, without the mutex, when so many items were delivered or
  /// failed; `undecodable` of them were counted as done and are failures.
  void settled(std::size_t items, std::size_t undecodable = 0);
  /// Fails items and counts them; without the mutex.
  void fail_share(const Share& share, const std::exception_ptr& error);
  /// Back into `pending_` with what no worker has begun of it. The mutex is
  /// held.
  virtual void recall(const Job& /*job*/) {}
  /// All that no worker has begun, taken out. The mutex is held.
  virtual std::deque<Share> take_pending() { return std::exchange(pending_, {}); }
  /// Marks it broken unless it is already. The mutex is held.
  void break_for(const std::exception_ptr& reason);
  /// Items that workers have begun and not settled; of wanted jobs only.
  [[nodiscard]] virtual std::size_t running_items(bool wanted_only) const = 0;
  /// Items in workers' hands that they have not begun.
  [[nodiscard]] virtual std::size_t waiting_items() const { return 0; }

  const EngineOptions options_;
  const std::uint32_t creator_ = fork_generation();
  mutable ForkSafeMutex mutex_;
  std::deque<Share> pending_;
  std::vector<std::weak_ptr<OpenInput>> inputs_;
  // These two changed under the mutex, or the second, downwards, by settled().
  std::atomic<Phase> phase_{Phase::running};
  std::atomic<std::size_t> unsettled_{0};
  std::exception_ptr broken_;
  std::size_t total_ = 0;
  std::size_t done_ = 0;
  std::size_t failed_ = 0;
  std::uint64_t last_job_ = 0;
  bool tells_progress_ = false;  // One thread at a time calls on_progress.
  bool progress_untold_ = false;
};

}  // namespace mp::detail
