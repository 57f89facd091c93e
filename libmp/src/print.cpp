#include "mp/print.hpp"

#include <unistd.h>

#include <cstdio>
#include <string>

#include "mp/detail/os.hpp"

namespace mp {

void write_line(std::string_view line) {
  std::string text;
  text.reserve(line.size() + 1);
  text.append(line).push_back('\n');
  std::fflush(stdout);
  if (!detail::write_all(STDOUT_FILENO, text)) detail::throw_errno("write(stdout)");
}

}  // namespace mp
