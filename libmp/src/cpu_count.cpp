#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <mp/process.hpp>
#include <string>

namespace mp {
namespace {

// Processors that the files of one group grant; infinite where they set no bound.
using Grant = double (*)(const std::string& folder);

// "max 100000" or "150000 100000": microseconds in a period.
double granted_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  double quota = 0;
  double period = 0;
  return file >> quota >> period && period > 0 ? quota / period : INFINITY;
}

// The same in a file each; -1 for no bound.
double granted_v1(const std::string& folder) {
  double quota = 0;
  double period = 0;
  std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
  std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  return quota > 0 && period > 0 ? quota / period : INFINITY;
}

// In the group and in each above it.
double least_granted(const std::string& mount, std::string group, Grant granted) {
  double least = INFINITY;
  for (;; group.resize(group.rfind('/'))) {
    if (group == "/") group.clear();
    least = std::min(least, granted(mount + group));
    if (group.find('/') == std::string::npos) return least;
  }
}

double cgroup_quota() {
  std::ifstream groups("/proc/self/cgroup");
  double least = INFINITY;
  for (std::string line; std::getline(groups, line);) {  // 0::/group or 4:cpu,cpuacct:/group
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      least = std::min(least, least_granted("/sys/fs/cgroup", group, granted_v2));
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      least = std::min(least, least_granted("/sys/fs/cgroup/cpu", group, granted_v1));
    }
  }
  return least;
}

}  // namespace

int cpu_count() { return std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN))); }

int process_cpu_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int count = cpu_count();
  if (::sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  const double quota = std::ceil(cgroup_quota());
  return std::max(1, quota < count ? static_cast<int>(quota) : count);
}

}  // namespace mp
