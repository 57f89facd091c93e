#pragma once

// Worker processes: what is behind Pool and ProcessPoolExecutor.

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "mp/detail/workers.hpp"
#include "spin.hpp"
#include "worker_lane.hpp"
#include "workers_impl.hpp"

namespace mp::detail {

/// About what it takes to wake a sleeping process; and for how long results
/// may lie until the bell is rung, if others follow.
inline constexpr double wake_nanoseconds = 20'000;

/// One lane to each worker process, and one thread that serves them while
/// nobody else does.
///
/// A task goes from `pending_` into a lane in the thread that submits it, or
/// that found room for it; a result from a lane to its job in whichever thread
/// looks first: the service thread, woken by the bell, or one that waits for a
/// result, which then needs nobody to be woken (help()).
///
/// Invariants, beyond those of Engine:
///   1. `lanes_` and all in them change under `mutex_` only. Processes are
///      started and ended without it.
///   2. While a lane has tasks, either it is armed (its worker will ring the
///      bell), or some thread is between disarming it and looking again: one
///      counted by `spinners_`, or the service thread. Where it was armed too
///      late for what is there already, `service_looks_`.
///   3. While a lane has tasks, the service thread sleeps no longer than
///      `shortest_limit_`: then it is never late for the limit of any.
///   4. Only the service thread removes lanes, so it alone may use one
///      without the mutex. Only it replaces workers.
class ProcessEngine final : public Engine {
 public:
  explicit ProcessEngine(EngineOptions options);
  ~ProcessEngine() override;
  ProcessEngine(const ProcessEngine&) = delete;
  ProcessEngine& operator=(const ProcessEngine&) = delete;

  /// Starts the workers that are not started on demand.
  void open();

  [[nodiscard]] bool has_begun(const Job& job) const override;
  void terminate(const std::exception_ptr& error, bool kill) override;
  void dismiss() noexcept override;
  void release() noexcept override;
  [[nodiscard]] Progress progress() const override;
  [[nodiscard]] std::vector<int> pids() const override;

  /// In a forked child: lets go of memory and descriptors; all else stays as
  /// it is, for nobody.
  void abandon_in_child() noexcept;

  // --- after Ctrl-C (process_engines.cpp) ---
  [[nodiscard]] bool has_running_tasks() const;
  void stop_handing_out();
  /// With whatever they have started.
  void kill_workers();

 protected:
  bool join_workers(const Deadline& deadline) override;
  [[nodiscard]] bool in_own_thread() override;
  void help_own(const Signal& signal, std::uint32_t seen, const Deadline& deadline,
                const Job* wanted) override;
  void prepare() override;
  void recall(const Job& job) override;
  void wake_workers() override;
  void wake_workers_and_help(std::unique_lock<ForkSafeMutex> lock, const Signal& signal) override;
  std::deque<Share> take_pending() override;
  [[nodiscard]] std::size_t running_items(bool wanted_only) const override;
  [[nodiscard]] std::size_t waiting_items() const override;

 private:
  using Clock = std::chrono::steady_clock;

  void enroll();
  void sign_off() noexcept;
  static void end_program();

  // --- starting and handing out (process_engine.cpp) ---
  std::unique_ptr<WorkerLane> start_worker();
  void start_on_demand();
  /// To the others; where all has come to an end meanwhile, its own is seen to.
  void admit(std::unique_ptr<WorkerLane> lane);
  static void end_worker(WorkerLane& lane, bool kill);
  /// Those that were started, where nothing can serve them.
  void end_unserved();
  void feed() noexcept;
  void hand_out();
  bool let_go();
  [[nodiscard]] WorkerLane* shortest_lane(bool automatic) const;
  [[nodiscard]] bool somebody_is_quicker() const;
  static bool has_spare_tasks(const std::unique_ptr<WorkerLane>& lane);
  void rebalance();
  [[nodiscard]] bool is_held_up(const WorkerLane& lane) const;
  bool put(WorkerLane& lane, Share share);
  [[nodiscard]] std::size_t depth() const;

  // --- reading, and waiting for it (process_results.cpp) ---
  /// Reads what there is, hands out what is pending; tells the jobs. True if
  /// there was anything to read.
  bool work();
  /// `leave`, where given: if nothing is left to wait for, the calling helper is
  /// one no more, which is what it says then.
  bool work(std::unique_lock<ForkSafeMutex> lock, bool* leave = nullptr);
  void read_lanes(Batch& batch);
  void requeue_given_back(Batch& batch);
  void count(const Batch& batch);
  void tell(Batch& batch);
  static std::size_t deliver(const Completion& result, std::span<const std::byte> bytes);
  [[nodiscard]] bool any_news() const;
  void help_locked(std::unique_lock<ForkSafeMutex> lock, const Signal& signal, std::uint32_t seen,
                   const Deadline& deadline);
  /// Arms the lanes that have tasks; false if there is news already.
  bool arm();
  void disarm();
  void watch_lanes();
  void ring() noexcept;
  [[nodiscard]] bool may_spin() const;

  // --- the dead (process_burial.cpp) ---
  void bury_dead();
  void bury(std::unique_ptr<WorkerLane> lane);
  void blame(WorkerLane& lane, std::vector<Share> shares, const WorkerDeath& death);
  bool is_out_of_memory(const WorkerDeath& death);
  void note_failed_start(const WorkerLane& lane, const WorkerDeath& death);
  /// Hands them out again; fails them where all has come to an end.
  void requeue(std::vector<Share> shares);
  static std::exception_ptr death_error(const WorkerLane& lane, const Share& share,
                                        WorkerDeath death);

  // --- the service thread (process_service.cpp) ---
  void ensure_service();
  void serve() noexcept;
  bool serve_once();
  void sleep_until_news();
  [[nodiscard]] Timeout next_event() const;
  void enforce_limits();
  [[nodiscard]] static bool is_over_limit(const WorkerLane& lane);
  void end_for_limit(WorkerLane& lane);
  void retire_workers();
  void replace_workers();
  void break_pool(const std::exception_ptr& reason);
  void end_everything(const std::exception_ptr& error, bool kill);
  [[nodiscard]] std::size_t wanted_workers() const;

  const int share_;  ///< Of the processors, for each worker: the size of pools it makes.
  const std::uint64_t blocked_signals_;  ///< Of the thread that made it: its workers' as well.
  UniqueFd bell_;  ///< An eventfd: workers and this process's threads ring it.
  std::vector<std::unique_ptr<WorkerLane>> lanes_;
  std::size_t starting_ = 0;  ///< Workers being started, not in `lanes_` yet.
  double task_nanoseconds_ = 0;
  int spinners_ = 0;
  int helpers_ = 0;
  bool look_soon_ = false;  ///< The service thread must look again within `patience`.
  bool service_sleeps_ = false;
  bool service_looks_ = false;  ///< It does, and looks by itself within `patience`.
  Duration service_nap_{};      ///< For how long at most.
  Timeout shortest_limit_;      ///< Of all tasks with a time limit so far.
  bool interrupted_ = false;
  struct Refused {
    Share share;
    std::exception_ptr error;
  };
  std::vector<Refused> refused_;  ///< Could not be handed over; to be failed.
  int failed_starts_ = 0;
  std::uint64_t oom_kills_ = 0;  ///< Those that happened before, or explain a death already.
  std::exception_ptr ending_;    ///< What all fails with that is unsettled; null: it goes on.
  std::optional<Clock::time_point> kill_at_;  ///< When SIGTERM has had its time.
  std::thread service_;
  bool serving_ = false;
  bool gone_ = false;           ///< The service thread has ended, or is about to.
  bool lacks_workers_ = false;  ///< One could not be started; tried again later.
  Signal ended_;
  AdaptiveSpin spin_;
  std::uint64_t exit_work_ = 0;
};

}  // namespace mp::detail
