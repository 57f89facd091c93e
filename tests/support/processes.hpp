#pragma once

#include <sys/types.h>

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace mp::test {

/// A process as /proc tells of it.
struct ProcessRow {
  pid_t parent = 0;
  char state = '?';
  std::string name = {};

  /// A zombie has ended, and so has one that its parent is taking away just now ('X').
  [[nodiscard]] bool has_ended() const { return state == 'Z' || state == 'X'; }
};

/// Every process there is.
std::map<pid_t, ProcessRow> process_table();

/// Children, grandchildren and so on of `ancestor`.
std::vector<pid_t> descendants(const std::map<pid_t, ProcessRow>& table, pid_t ancestor);

/// Whether it has ended, seen by its parent or not.
bool is_gone(pid_t pid);
/// Whether a process, or one thread by its id, sleeps in the kernel just now.
bool is_asleep(pid_t id);

std::size_t threads_of_this_process();
/// Whether all of them but the caller's sleep just now.
bool other_threads_sleep();

/// What there is in /dev/shm, everybody's.
std::set<std::string> shared_memory_names();

/// The names in /dev/shm that were not there `before`. A name that a process outside this one's
/// family has open is left out, and one that goes within two seconds: they belong to something else
/// that runs at the same time.
std::vector<std::string> shared_memory_left(const std::set<std::string>& before);

}  // namespace mp::test
