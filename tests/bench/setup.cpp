#include <sched.h>
#include <sys/utsname.h>

#include <fstream>
#include <string_view>

#include <fmt/format.h>

#include "mp/detail/os.hpp"
#include "raw.hpp"
#include "table.hpp"

namespace bench {

namespace {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string core_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  check(::sched_getaffinity(0, sizeof set, &set), "sched_getaffinity");
  const int count = CPU_COUNT(&set);
  return fmt::format("{} core{}", count, count == 1 ? "" : "s");
}

// Only the number: what follows it is this machine's own.
std::string kernel_version() {
  utsname names{};
  check(::uname(&names), "uname");
  const std::string_view release = names.release;
  return fmt::format("{} {}", names.sysname,
                     release.substr(0, release.find_first_not_of("0123456789.")));
}

std::string compiler_version() {
#ifdef __clang__
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

}  // namespace

Setup describe_setup(std::string effort) {
  return {.processor = processor_name(),
          .cores = core_count(),
          .kernel = kernel_version(),
          .compiler = compiler_version() + " " MP_BENCH_FLAGS,
          .python = MP_BENCH_PYTHON_VERSION,
          .wake_up = mp::detail::has_several_cores()
                         ? "who waits looks again for some microseconds, then sleeps in the kernel"
                         : "one core: who waits sleeps in the kernel at once",
          .effort = std::move(effort)};
}

}  // namespace bench
