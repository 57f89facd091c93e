#pragma once

#include <exception>
#include <string>

#include "mp/detail/remote.hpp"
#include "mp/partial.hpp"

/// Tasks that a manager's clients name: what its workers call for them.
namespace mp::detail {

/// In a worker: the function of that name, with these arguments; its result.
std::string run_named(const std::string& name, const std::string& args);
void initialize_named(const std::string& name, const std::string& args);
using NamedTask = Partial<decltype(&run_named), std::string>;

/// A worker's death as the pool tells it, which knows run_named() only.
std::exception_ptr with_function(const std::exception_ptr& error, AppliedFunction function);

}  // namespace mp::detail
