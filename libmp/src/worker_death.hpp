#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "mp/executor_errors.hpp"
#include "mp/process.hpp"

namespace mp::detail {

/// What became of a worker that has ended: name, pid, exit code, peak memory.
WorkerDeath describe_death(const Process& process);
/// "ForkPoolWorker-1 (pid 12) was killed by SIGKILL"
std::string death_sentence(const WorkerDeath& death);

/// How often the system's out-of-memory killer struck in this process's
/// control group; where that cannot be read, in the system; else 0.
std::uint64_t out_of_memory_kills();

/// SIGSTOP, and waits until the process does nothing more. It must be a child
/// that was not waited for yet.
void stop_process(pid_t pid);

/// SIGKILL for all descendants of `root`, also those that left its session and
/// those whose parents have ended (`root` is their sub-reaper), then for
/// `root` itself. It must be a child that was not waited for yet.
void kill_tree(pid_t root);

}  // namespace mp::detail
