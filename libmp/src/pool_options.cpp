#include "mp/pool_options.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "mp/errors.hpp"

namespace mp::detail {

void require_valid(const ImapOptions& options) {
  if (options.chunksize < 1) {
    throw ValueError(fmt::format("Chunksize must be 1+, not {}", options.chunksize));
  }
  if (options.buffersize && *options.buffersize < 1) {
    throw ValueError("buffersize must be None or > 0");
  }
}

StreamRules imap_rules(bool ordered, const ImapOptions& options, std::size_t workers,
                       Timeout limit) {
  constexpr std::size_t widest = 1024;
  const auto chunk = static_cast<std::size_t>(options.chunksize);
  return {.ordered = ordered,
          .chunk = chunk,
          .window = options.buffersize ? static_cast<std::size_t>(*options.buffersize)
                                       : std::max(widest, 4 * workers * chunk),
          .growing = !options.buffersize,
          .outlives_close = true,
          .ends_at_error = false,
          .limit = limit};
}

}  // namespace mp::detail
