#pragma once

namespace mp {

/// What becomes of a task whose worker died.
struct OnWorkerDeath {
  enum class Policy : unsigned char { fail, retry, break_pool };
  Policy policy = Policy::fail;
  int times = 0;  ///< For retry.
  friend bool operator==(const OnWorkerDeath&, const OnWorkerDeath&) = default;
};

namespace on_worker_death {
/// The task fails with WorkerDied; all others go on. The default of a Pool.
inline constexpr OnWorkerDeath fail{};
/// It is run again, up to so many times: for tasks that may be run twice.
constexpr OnWorkerDeath retry(int times) { return {OnWorkerDeath::Policy::retry, times}; }
/// All tasks fail and the pool is of no more use: Python's executor.
inline constexpr OnWorkerDeath break_pool{OnWorkerDeath::Policy::break_pool, 0};
}  // namespace on_worker_death

}  // namespace mp
