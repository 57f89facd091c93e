#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "mp/detail/os.hpp"
#include "mp/errors.hpp"

namespace mp {

/// The future was cancelled before it ran.
class CancelledError : public Error {
 public:
  CancelledError() : Error("the future was cancelled") {}
};

/// A future that is done or cancelled was to be given a result.
class InvalidStateError : public LogicError {
 public:
  using LogicError::LogicError;
};

/// A pool or executor that can do no more; its text says why.
class BrokenExecutor : public Error {
 public:
  using Error::Error;
};

class BrokenThreadPool : public BrokenExecutor {
 public:
  using BrokenExecutor::BrokenExecutor;
};

class BrokenProcessPool : public BrokenExecutor {
 public:
  using BrokenExecutor::BrokenExecutor;
};

/// What a function returned cannot be pickled. Python: MaybeEncodingError.
class MaybeEncodingError : public PicklingError {
 public:
  MaybeEncodingError(std::string reason, std::string value)
      : PicklingError("Error sending result: '" + value + "'. Reason: '" + reason + "'"),
        exc_(std::move(reason)),
        value_(std::move(value)) {}
  /// Why: type and text of the exception that pickling ended with.
  [[nodiscard]] const std::string& exc() const noexcept { return exc_; }
  /// Of what type the value is.
  [[nodiscard]] const std::string& value() const noexcept { return value_; }

 private:
  std::string exc_;
  std::string value_;
};

/// The pool was terminated before the result was there.
class PoolTerminated : public Error {
 public:
  using Error::Error;
};

/// All that is known of a worker that ended while it had a task in hand.
struct WorkerDeath {
  std::string worker = {};  ///< Its name.
  int pid = 0;
  int exitcode = 0;  ///< What it exited with, or minus the signal.
  bool core_dumped = false;
  std::uint64_t task = 0;      ///< The task's number, counting from 1 in its pool.
  std::size_t item = 0;        ///< Which item of its map; 0 for a single call.
  std::string function = {};   ///< What was called.
  Duration ran = {};           ///< For how long.
  std::uint64_t peak_rss = 0;  ///< The most memory it ever had, in bytes; 0: not known.
  bool out_of_memory = false;  ///< The system's out-of-memory killer was probably at work.
};

/// A worker ended while it ran this task. The other tasks are unharmed,
/// unless the pool's policy is break_pool.
class WorkerDied : public BrokenProcessPool {
 public:
  explicit WorkerDied(WorkerDeath death);
  [[nodiscard]] const WorkerDeath& death() const noexcept { return death_; }
  /// "SIGKILL", "SIGSEGV"; empty if it exited by itself.
  [[nodiscard]] std::string signal() const;

 private:
  WorkerDeath death_;
};

}  // namespace mp
