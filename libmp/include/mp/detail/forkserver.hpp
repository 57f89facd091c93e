#pragma once

#include <sys/types.h>

#include <optional>

namespace mp::detail {

/// The fork server of this process, if it has one that was not seen to end.
std::optional<pid_t> forkserver_pid();

/// Ends and reaps it; its children go on. The next start by forkserver makes
/// another.
void end_forkserver();

}  // namespace mp::detail
