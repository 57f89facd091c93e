#pragma once

#include "mp/detail/os.hpp"

namespace mp::detail {

/// The fork server's loop; ends with its program.
[[noreturn]] void serve_forks(UniqueFd control);

}  // namespace mp::detail
