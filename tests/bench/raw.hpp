#pragma once

// The kernel's own calls, as the floors and the rivals' programs use them.

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <new>
#include <utility>

namespace bench {

/// Throws std::system_error if `result` is negative.
long check(long result, const char* call);

class Stopwatch {
 public:
  [[nodiscard]] double ns() const {
    return std::chrono::duration<double, std::nano>(Clock::now() - start_).count();
  }
  [[nodiscard]] double ns_per(std::size_t count) const { return ns() / static_cast<double>(count); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// A forked child that runs `body`, and ends with this process.
class Child {
 public:
  explicit Child(const std::function<void()>& body);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  /// Throws std::runtime_error if the child ended in any way but well.
  void join();

 private:
  pid_t pid_ = 0;
};

void* map_shared(std::size_t size);
void unmap(void* address, std::size_t size) noexcept;

/// A T that this process's forked children share with it.
template <class T>
class Shared {
 public:
  template <class... Args>
  explicit Shared(Args&&... args)
      : object_(new (map_shared(sizeof(T))) T(std::forward<Args>(args)...)) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() {
    object_->~T();
    unmap(object_, sizeof(T));
  }
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }

 private:
  T* object_;
};

/// Where `parties` processes meet, so that they begin together. Once.
class StartingLine {
 public:
  void meet(int parties);

 private:
  std::atomic<int> there_ = 0;
};

using FutexWord = std::atomic<unsigned>;
void futex_wait(FutexWord& word, unsigned expected);
void futex_wake(FutexWord& word, int count);

/// Writes or reads all of it; throws std::system_error, or std::runtime_error
/// at end-of-file.
void write_fully(int fd, const void* data, std::size_t size);
void read_fully(int fd, void* data, std::size_t size);

/// Two connected descriptors: of pipe(2), of socketpair(2), or over TCP, sent
/// at once. Closed at the end.
struct FdPair {
  FdPair(FdPair&& other) noexcept
      : read(std::exchange(other.read, -1)), write(std::exchange(other.write, -1)) {}
  FdPair& operator=(FdPair&&) = delete;
  ~FdPair();
  static FdPair pipe();
  static FdPair sockets();
  static FdPair tcp();
  void close_write();
  int read;   ///< Of sockets: one end; what is written to the other comes here.
  int write;  ///< Of sockets: the other end.

 private:
  FdPair(int first, int second) : read(first), write(second) {}
};

}  // namespace bench
