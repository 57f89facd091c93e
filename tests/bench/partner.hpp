#pragma once

// Two processes, or more, that do something together.

#include <functional>
#include <stdexcept>

#include "mp/process.hpp"
#include "raw.hpp"
#include "row.hpp"

namespace bench {

using Body = std::function<void()>;

/// As Child, by libmp.
class LibmpChild {
 public:
  explicit LibmpChild(Body body)
      : process_({.daemon = true, .start_method = mp::StartMethod::fork}, std::move(body)) {
    process_.start();
  }
  void join() {
    process_.join();
    if (process_.exitcode() != 0) throw std::runtime_error("a child has failed");
  }

 private:
  mp::Process process_;
};

/// Times `ours`, while `theirs` runs in a child: per operation, from the
/// moment when both are there.
template <class Partner = Child>
Timing time_pair(std::size_t operations, const Body& theirs, const Body& ours) {
  const Shared<StartingLine> line;
  Partner partner([&] {
    line->meet(2);
    theirs();
  });
  line->meet(2);
  const Stopwatch watch;
  ours();
  const Timing timing{watch.ns_per(operations)};
  partner.join();
  return timing;
}

}  // namespace bench
