#pragma once

#include <cstddef>

#include "mp/timeout.hpp"

namespace mp::detail {

/// How a stream behaves.
struct StreamRules {
  bool ordered = true;
  std::size_t chunk = 1;
  std::size_t window = 0;       ///< Items submitted and not taken yet, at most.
  bool growing = false;         ///< The window starts small, and grows where the workers are quick.
  bool outlives_close = false;  ///< Items are submitted after close(), too.
  bool ends_at_error = false;   ///< An error is the last thing that comes.
  Timeout limit = {};           ///< How long a task may run.
};

}  // namespace mp::detail
