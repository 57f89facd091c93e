#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>

#include "mp/context.hpp"
#include "mp/detail/future_state.hpp"
#include "mp/detail/stream_rules.hpp"
#include "mp/on_worker_death.hpp"
#include "mp/progress.hpp"
#include "mp/timeout.hpp"

/// What a pool and its calls may be told, in braces before the rest.
namespace mp {

/// The keyword arguments of Python's `Pool()`, and what libmp adds.
struct PoolOptions {
  /// Empty: process_cpu_count(), and in a pool's worker its share of that, so
  /// that nested pools of default size do not multiply. A number is taken at
  /// its word, there as well.
  std::optional<int> processes = {};
  std::optional<int> maxtasksperchild = {};  ///< A worker is replaced after so many tasks.
  std::optional<StartMethod> start_method = {};
  OnWorkerDeath on_worker_death = on_worker_death::fail;
  /// Bytes of memory: a worker that holds, between tasks, so much more than
  /// when it was ready for the first is replaced. (What it had then is its
  /// parent's, under fork.) 0: it may grow.
  std::uint64_t max_rss = 0;
  Timeout timeout = {};                      ///< How long a task may run; see ApplyOptions.
  Duration grace = std::chrono::seconds(1);  ///< From SIGTERM to SIGKILL.
  /// Called as results come, in the thread that reads them: one that waits for
  /// a result, or the pool's own; in one at a time. A result is given before it
  /// is counted here, so the call may come after its get() has returned: what
  /// is called must outlive the pool and all threads that wait for its results.
  std::function<void(const Progress&)> on_progress = {};
};

/// The keyword arguments of Python's `apply_async()`; T is what the task returns.
template <class T>
struct ApplyOptions {
  /// Called with the value, in the thread that has it, before it is ready.
  /// What a callback throws is logged and hurts nobody.
  std::conditional_t<std::is_void_v<T>, std::function<void()>,
                     std::function<void(const detail::Storable<T>&)>>
      callback = {};
  std::function<void(const std::exception_ptr&)> error_callback = {};
  /// After so long the worker and all its descendants are killed, the result
  /// is TimeoutError, and the worker replaced. Threads cannot be stopped:
  /// ThreadPool refuses it (ValueError).
  Timeout timeout = {};
};

/// The keyword arguments of Python's `map_async()`; T is what get() returns.
template <class T>
struct MapOptions {
  std::optional<int> chunksize = {};  ///< Empty: by measured time.
  std::conditional_t<std::is_void_v<T>, std::function<void()>,
                     std::function<void(const detail::Storable<T>&)>>
      callback = {};
  std::function<void(const std::exception_ptr&)> error_callback = {};
  Timeout timeout = {};  ///< For each message of items.
};

/// The keyword arguments of Python's `imap()`.
struct ImapOptions {
  int chunksize = 1;
  /// Items read from the input and not yet taken as results, at most. Empty:
  /// as few as keep the workers busy, about a thousand when they are fast.
  std::optional<int> buffersize = {};
  Timeout timeout = {};  ///< For each message of items.
};

namespace detail {

/// Throws ValueError `Chunksize must be 1+` and the like.
void require_valid(const ImapOptions& options);
/// The rules of an imap in a pool of so many workers.
StreamRules imap_rules(bool ordered, const ImapOptions& options, std::size_t workers,
                       Timeout limit);

}  // namespace detail

}  // namespace mp
