#pragma once

#include <string>

namespace mp::detail {

/// The name of the function at an address of this program, as the source
/// writes it; empty if neither its symbols nor the loader know it.
std::string symbol_name(const void* code);

}  // namespace mp::detail
