#include "mp/errors.hpp"

namespace mp {

void exit(int code) { throw SystemExit(code); }
void exit(std::string text) { throw SystemExit(std::move(text)); }

}  // namespace mp
