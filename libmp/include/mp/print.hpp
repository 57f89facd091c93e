#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace mp {

/// Writes `line` and a newline to stdout in one write(2), after anything that
/// stdio has buffered: lines of many processes never tear. Where stdout is a
/// pipe, the system promises that for lines up to 4096 bytes (PIPE_BUF). Throws
/// std::system_error if stdout cannot be written; a pipe that nobody reads any more
/// ends the program by SIGPIPE, unless it ignores that. Any thread, any process.
void write_line(std::string_view line);

/// Python's print(), in fmt's notation: `mp::println("{} by: {}", n, name)`.
template <class... Args>
void println(fmt::format_string<Args...> format, Args&&... args) {
  write_line(fmt::format(format, std::forward<Args>(args)...));
}
inline void println() { write_line({}); }

}  // namespace mp
