#pragma once

#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "mp/detail/os.hpp"
#include "private_fd.hpp"

namespace mp::detail {

/// What a server does not do itself, as it would have to wait: threads that
/// wait in its stead, and the word from them, and from other threads, that
/// something is over.
///
/// 1. Everything is touched under mutex_, but a thread by who joins it: run()
///    and the destructor, both the server's own thread.
/// 2. A letter runs in the server's thread, between two requests.
class Errands {
 public:
  Errands();
  Errands(const Errands&) = delete;
  Errands& operator=(const Errands&) = delete;
  /// Waits for all that run.
  ~Errands();

  /// Readable while there are letters.
  [[nodiscard]] int fileno() const noexcept { return bell_.get(); }
  /// From any thread.
  void post(std::function<void()> letter);
  /// Runs what was posted.
  void deliver();
  /// Runs `errand` in a thread of its own.
  void run(std::function<void()> errand);

 private:
  struct Errand {
    std::thread thread = {};
    bool over = false;
  };
  void join_those_that_are_over();

  PrivateFd bell_;
  std::mutex mutex_;
  std::vector<std::function<void()>> letters_;
  std::list<Errand> errands_;
};

}  // namespace mp::detail
