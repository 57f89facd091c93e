#pragma once

#include <cstdint>
#include <functional>

namespace mp::detail {

/// What a process does at its end, before its children are ended: the highest
/// priority first, among equals the newest first; below zero: after them.
/// A process's own: a child inherits none. Python: util.Finalize.
std::uint64_t add_exit_work(int priority, std::function<void()> function);
/// Forgets it; unknown ids are ignored.
void remove_exit_work(std::uint64_t id) noexcept;
/// In a new child: the parent's are not this process's.
void reset_exit_work() noexcept;

}  // namespace mp::detail
