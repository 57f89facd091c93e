#pragma once

#include <chrono>
#include <optional>

namespace mp {

/// All time-outs are durations on the monotonic clock; any std::chrono
/// duration of whole nanoseconds converts, up to 292 years. Negative is zero.
using Duration = std::chrono::nanoseconds;

/// A time-out as Python has it: empty waits for ever, zero only looks.
using Timeout = std::optional<Duration>;

}  // namespace mp
