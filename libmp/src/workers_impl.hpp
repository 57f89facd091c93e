#pragma once

// What both kinds of engine share. Private to the workers' room.

#include <cstdint>
#include <memory>

#include "mp/detail/workers.hpp"

namespace mp::detail {

/// The engine is ended with the program, before the program's children are. Returns what
/// remove_exit_work() takes.
std::uint64_t end_with_program(std::weak_ptr<Engine> weak);

/// What a program that Ctrl-C ended exits with: as a shell tells it of SIGINT.
inline constexpr int exit_code_of_interrupt = 130;

/// How long a thread that asked for no bell, or for a late one, sleeps before
/// it looks by itself.
inline constexpr Duration patience = std::chrono::milliseconds(1);

}  // namespace mp::detail
