#pragma once

namespace mp::detail {

/// Ctrl-C in a program that has pools: its first SIGINT ends it in order, by
/// whichever service thread sees it first; a second does not wait for running
/// tasks. Only where the program leaves SIGINT alone.

/// While at least one watcher is there, SIGINT is answered: service threads, as
/// long as they serve. Without one it does what it does in any program.
void watch_interrupts();
void unwatch_interrupts() noexcept;
/// In a forked child: nobody is there who would answer it.
void forget_interrupts() noexcept;

/// Readable once SIGINT has come; -1 before the first watcher.
int interrupt_fd() noexcept;
/// How often it has come.
int interrupts() noexcept;
/// From now on one more ends the program at once.
void hurry_interrupts() noexcept;

}  // namespace mp::detail
