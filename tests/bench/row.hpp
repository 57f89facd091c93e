#pragma once

// What `compare` compares: rows of contenders that do the same work.

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace bench {

/// What one run of a contender came to.
struct Timing {
  double ns = 0;                   ///< Per operation.
  std::optional<double> p99 = {};  ///< Of the single operations, where a row asks for it.
};

/// Does `count` operations. What is not an operation, as starting a partner,
/// stays outside the time it tells.
using Run = std::function<Timing(std::size_t count)>;

struct Contender {
  std::string name;  ///< "libmp", "floor", "cpython" or a rival's.
  std::string what;  ///< In a few words, for --list and the page.
  Run run = {};      ///< Empty: the function of the row's name in python/ does it.
};

/// What libmp is to reach in a row.
struct Reach {
  enum class Kind { at_most, at_least };

  Kind kind;            ///< At most so many times its time, at least so many times its speed.
  double factor;        ///
  std::string against;  ///< A contender of the same row.
  std::string who = "libmp";
};

/// Time of `who` is at most `factor` times that of `against`.
inline Reach at_most(double factor, std::string against, std::string who = "libmp") {
  return {Reach::Kind::at_most, factor, std::move(against), std::move(who)};
}

/// `who` is at least `factor` times as fast as `against`.
inline Reach at_least(double factor, std::string against, std::string who = "libmp") {
  return {Reach::Kind::at_least, factor, std::move(against), std::move(who)};
}

/// For work that cannot be cut into as many operations as there is time for.
struct FixedCount {
  std::size_t full;
  std::size_t quick;
};

struct Row {
  std::string name;
  std::string operation;  ///< What is counted as one: "start and join of a child".
  std::vector<Contender> contenders;
  std::vector<Reach> reaches;
  bool shows_cpu = false;  ///< Whether the processors' time per operation is of interest.
  std::optional<FixedCount> count = {};
};

/// An argument with which this program ends at once.
inline constexpr auto leave_at_once = "--leave-at-once";

/// Python's side of a row.
inline Contender cpython(std::string what) { return {"cpython", std::move(what)}; }

std::vector<Row> process_rows();
std::vector<Row> queue_rows();
std::vector<Row> pipe_rows();
std::vector<Row> lock_rows();
std::vector<Row> pool_rows();
std::vector<Row> manager_rows();

/// The floor of every round trip: an int through one pipe and back through another.
Timing pipe_ping_pong(std::size_t count);

/// The round trip that a pool's is measured by: an int through two Queues.
Timing libmp_queue_roundtrip(std::size_t count);

/// Every row, in the table's order.
std::vector<Row> all_rows();

}  // namespace bench
