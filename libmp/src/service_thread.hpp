#pragma once

namespace mp::detail {

/// The name of each of libmp's own threads, from its first line until the kernel has forgotten it.
inline constexpr const char* service_thread_name = "libmp-service";

}  // namespace mp::detail
