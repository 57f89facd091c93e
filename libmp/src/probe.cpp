#include "probe.hpp"

#ifdef MP_FAULT_STEPS

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdlib>

namespace mp::detail {
namespace {

constexpr std::size_t nowhere = probe_places.size();

std::atomic<std::size_t> fatal_place{nowhere};
std::atomic<std::int64_t> passes_left{0};

[[maybe_unused]] const bool read_environment = [] {
  const char* step = std::getenv("MP_FAULT_STEP");
  return step == nullptr || set_fault_step(step);
}();

}  // namespace

bool set_fault_step(std::string_view step) noexcept {
  const std::size_t colon = step.find(':');
  const std::string_view name = step.substr(0, colon);
  std::int64_t count = 1;
  if (colon != std::string_view::npos) {
    std::from_chars(step.data() + colon + 1, step.data() + step.size(), count);
  }
  std::size_t index = 0;
  while (index < nowhere && probe_places[index] != name) ++index;
  passes_left.store(count, std::memory_order_relaxed);
  fatal_place.store(index, std::memory_order_relaxed);
  return index < nowhere || step.empty();
}

void pass_probe(std::size_t index) noexcept {
  if (fatal_place.load(std::memory_order_relaxed) != index) return;
  if (passes_left.fetch_sub(1, std::memory_order_relaxed) != 1) return;
  ::kill(::getpid(), SIGKILL);
  ::pause();  // The signal may take a moment; nothing more is done meanwhile.
}

}  // namespace mp::detail

#endif
