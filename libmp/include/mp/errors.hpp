#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

/// Every exception that libmp throws belongs to one of three families:
///   - mp::Error and below: what a caller plans for (time-outs, dead peers);
///   - mp::LogicError and below: misuse, checked in every build;
///   - std::system_error: the system's no, with errno and the call's name.
namespace mp {

/// Root of what a caller plans for. Python: multiprocessing.ProcessError.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Python's name for the root.
using ProcessError = Error;

/// A queue stayed empty until the deadline. Python: queue.Empty.
class Empty : public Error {
 public:
  Empty() : Error("queue is empty") {}
};

/// A queue stayed full until the deadline. Python: queue.Full.
class Full : public Error {
 public:
  Full() : Error("queue is full") {}
};

/// The queue was shut down. Python: queue.ShutDown.
class ShutDown : public Error {
 public:
  ShutDown() : Error("queue has been shut down") {}
};

/// A result was not there by the deadline.
class TimeoutError : public Error {
 public:
  using Error::Error;
};

/// The other end is closed and everything it sent was read.
class EOFError : public Error {
 public:
  using Error::Error;
};

/// A message did not fit the buffer given. The message was taken from the
/// connection and is kept here, whole.
class BufferTooShort : public Error {
 public:
  explicit BufferTooShort(std::vector<std::byte> message)
      : Error("buffer is too short for the message"), message_(std::move(message)) {}
  [[nodiscard]] const std::vector<std::byte>& message() const noexcept { return message_; }

 private:
  std::vector<std::byte> message_;
};

/// The peer does not have the key, or speaks another protocol.
class AuthenticationError : public Error {
 public:
  using Error::Error;
};

/// A process ended while it held the lock that was just taken. The lock IS
/// held by the caller now; what it protects may be half changed. Told once.
class OwnerDied : public Error {
 public:
  using Error::Error;
};

/// A value cannot be turned into bytes, or bytes not into the value.
class PicklingError : public Error {
 public:
  using Error::Error;
};

/// A barrier was aborted, reset under its waiters, timed out, or lost a party.
class BrokenBarrierError : public Error {
 public:
  using Error::Error;
};

/// Root of misuse: the program is wrong, not the world.
class LogicError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// An argument that no call could accept, or an object past its use.
class ValueError : public LogicError {
 public:
  using LogicError::LogicError;
};

/// A call in the wrong order or from the wrong process. Python: an assert,
/// which `python -O` drops; never dropped here.
class AssertionError : public LogicError {
 public:
  using LogicError::LogicError;
};

/// A call that the program's present state rules out.
class RuntimeError : public LogicError {
 public:
  using LogicError::LogicError;
};

/// A value of the wrong kind where only the run time can know.
class TypeError : public LogicError {
 public:
  using LogicError::LogicError;
};

/// No element at that position.
class IndexError : public LogicError {
 public:
  using LogicError::LogicError;
};

/// No element of that key.
class KeyError : public LogicError {
 public:
  using LogicError::LogicError;
};

/// No attribute of that name.
class AttributeError : public LogicError {
 public:
  using LogicError::LogicError;
};

/// Ends the calling process when it leaves a process's target. Python:
/// SystemExit. Thrown by mp::exit(); not a std::exception, so that a
/// `catch (const std::exception&)` on the way does not stop it. Only a child's
/// target catches it: thrown in main() or in a thread of one's own, it ends the
/// program as any exception that nobody catches.
class SystemExit {
 public:
  explicit SystemExit(int code) : code_(code) {}
  explicit SystemExit(std::string text) : code_(1), text_(std::move(text)) {}
  /// 0 to 255: what the parent sees, taken modulo 256 as the system does.
  [[nodiscard]] int code() const noexcept { return code_ & 0xff; }
  /// Printed on stderr by the ending process when it is not empty.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  int code_;
  std::string text_;
};

/// Leaves the current process's target: `mp::exit(3)`, `mp::exit("why")`.
[[noreturn]] void exit(int code = 0);
[[noreturn]] void exit(std::string text);

}  // namespace mp
