#pragma once

#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

/// How a child comes into being. Python: multiprocessing.context. Its
/// get_context("spawn"), an object that makes processes of one kind, is not
/// here: a start method is an option of what starts processes (ProcessOptions,
/// PoolOptions, …), and all else works with children of each.
namespace mp {

/// fork        the child is a copy of its parent and inherits everything;
///             nothing is pickled. The default. Unsafe, as everywhere, while
///             other threads hold locks: libmp then logs a warning.
/// spawn       the program is executed afresh; target and arguments are
///             pickled; only the descriptors that they hold cross.
/// forkserver  a clean, single-threaded server, executed once, forks each
///             child: as safe as spawn and nearly as fast as fork.
enum class StartMethod : unsigned char { fork, spawn, forkserver };

/// "fork", "spawn", "forkserver".
std::string_view to_string(StartMethod method) noexcept;
std::ostream& operator<<(std::ostream& out, StartMethod method);

/// Must come first in main() of a program that uses spawn or forkserver:
/// a child of these executes main(), and does not get past this line. In any
/// other process it does nothing, but for ValueError where the environment variable
/// MP_CHILD is not libmp's. (A child that gets to Process::start()
/// without it ends by a RuntimeError.)
void freeze_support();

/// Sets the default for this process and the children to come, once. Throws
/// RuntimeError if it is fixed already (unless `force`), as it is in every child,
/// and by start() of anything that was given no method; ValueError `cannot find
/// context for 'x'` for an unknown name. Without a method, as Python's None: fork; with `force` it
/// is as if it had never been set.
void set_start_method(std::optional<StartMethod> method, bool force = false);
void set_start_method(std::string_view name, bool force = false);

/// The default, which this call fixes.
StartMethod get_start_method();
/// The default if it is fixed already. Python: allow_none=True.
std::optional<StartMethod> get_fixed_start_method() noexcept;
/// The default first.
std::vector<StartMethod> get_all_start_methods();

/// The program that children under spawn and forkserver execute; empty means
/// this one. It must be the same build, else the child refuses its order. Not
/// looked at until a child is started.
void set_executable(const std::filesystem::path& path);

/// Functions that the fork server calls once before it serves, so that every
/// child finds their work done. For servers that start after this call. What one of
/// them throws is written to stderr, and the next is called.
void set_forkserver_preload(std::vector<void (*)()> functions);

}  // namespace mp

template <>
struct fmt::formatter<mp::StartMethod> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(mp::StartMethod method, Context& context) const {
    return fmt::formatter<std::string_view>::format(to_string(method), context);
  }
};
