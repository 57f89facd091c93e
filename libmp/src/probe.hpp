#pragma once

#include <array>
#include <cstddef>
#include <string_view>

/// Named places in the code at which a fault test ends the process.
///
/// Nothing in a normal build. Built with MP_FAULT_STEPS (the Meson option
/// fault_steps, and always for the suite `faults`), a process that comes past
/// the place named by the environment's MP_FAULT_STEP, "lock.acquire.taken" or
/// "lock.acquire.taken:3" for the third time, kills itself with SIGKILL there.
namespace mp::detail {

/// All places, room by room. A name that is not here does not compile.
inline constexpr auto probe_places = std::to_array<std::string_view>({
    "owned_lock.acquire.before",      // Nothing done yet.
    "owned_lock.acquire.taken",       // The lock is held; nobody was told.
    "owned_lock.acquire.announced",   // The waiters bit is set; not asleep yet.
    "owned_lock.acquire.woken",       // Woken up; the lock not taken yet.
    "owned_lock.acquire.inherited",   // Taken from a dead owner.
    "owned_lock.release.before",      // Still held.
    "owned_lock.release.freed",       // Free; a sleeper not woken yet.
    "owned_lock.release.done",        // A sleeper woken.
    "owned_lock.try.taken",           // Taken without waiting.
    "lock.acquire.noted",             // Held, and the thread is on record.
    "lock.release.forgotten",         // The thread is off record; still held.
    "semaphore.acquire.taken",        // A unit is taken; the free ones not shown yet.
    "semaphore.acquire.inherited",    // A dead process's unit is counted twice.
    "semaphore.acquire.announced",    // Not asleep yet.
    "semaphore.acquire.woken",        // Woken up; nothing taken yet.
    "semaphore.release.counted",      // About to become a signal.
    "semaphore.release.given",        // A unit is free; not shown yet.
    "semaphore.release.before_wake",  // Shown; a sleeper not woken yet.
    "ring.put.locked",                // A producer has the tail lock.
    "ring.put.spilling",              // A part of the record is in the spill.
    "ring.put.written",               // The record is there; nobody can see it.
    "ring.put.committed",             // Everybody can see it; the lock is held.
    "ring.put.told",                  // Released, sleepers woken.
    "ring.put.poll_taken",            // Who polls is not asked for any more, nor told yet.
    "ring.get.locked",                // A consumer has the head lock.
    "ring.get.copied",                // The record was read; it is still there.
    "ring.get.committed",             // It is gone; the lock is held.
    "ring.get.told",                  // Released, sleepers woken.
    "ring.sleep.announced",           // The waiting bit is set; not asleep yet.
    "ring.sleep.woken",               // Woken up; nothing done yet.
    "ring.done.counted",              // The task is done; who joins is not woken yet.
    "ring.shutdown.marked",           // Shut down; both locks held, nobody told.
    "channel.send.begun",             // Nothing sent yet.
    "channel.send.sent",              // A part of the message, or all, is sent.
    "channel.recv.framed",            // The frame was received, the payload not.
    "channel.recv.received",          // The whole message was received.
    "condition.wait.enlisted",        // In the list; the lock still held.
    "condition.wait.released",        // The lock released; not asleep yet.
    "condition.wait.woken",           // Awake; the lock not held yet.
    "condition.wait.reacquired",      // The lock held; still in the list.
    "condition.wait.inherited",       // About to take a dead sleeper's wake-up.
    "condition.notify.marked",        // One is to wake, and sleeps still.
    "condition.notify.woken",         // It was woken.
    "event.set.before",               // Nothing done yet.
    "event.set.set",                  // The flag is set; sleepers not woken yet.
    "event.set.done",                 // All woken.
    "event.clear.done",               // The flag is cleared.
    "event.wait.before",              // About to sleep.
    "event.wait.woken",               // Woken up.
    "barrier.wait.noted",             // On record, but not counted.
    "barrier.wait.counted",           // Counted; not asleep yet.
    "barrier.wait.acting",            // The last one, before the action.
    "barrier.wait.acted",             // After the action, before anybody passes.
    "barrier.generation.ending",      // The outcome is written, not the end.
    "barrier.wait.passed",            // All may pass; not woken yet.
    "barrier.wait.woken",             // Woken by the pass.
    "barrier.break.marked",           // Broken; those who wait not told yet.
    "barrier.break.told",             // Told, not woken yet.
});

/// One of them, found when the program is compiled.
class ProbePlace {
 public:
  consteval ProbePlace(const char* name) : index_(find(name)) {}  // NOLINT: a name is a place.
  [[nodiscard]] constexpr std::size_t index() const noexcept { return index_; }

 private:
  static consteval std::size_t find(std::string_view name) {
    for (std::size_t i = 0; i < probe_places.size(); ++i) {
      if (probe_places[i] == name) return i;
    }
    throw "no such place: add it to probe_places";
  }
  std::size_t index_;
};

#ifdef MP_FAULT_STEPS

/// Counts a pass of the place; does not return if it is the fatal one.
void pass_probe(std::size_t index) noexcept;

/// Chooses the fatal place of this process and its later children, counting
/// from now: "name" or "name:N"; empty for none. False if there is no such place.
bool set_fault_step(std::string_view step) noexcept;

inline void probe(ProbePlace place) noexcept { pass_probe(place.index()); }

#else

inline void probe(ProbePlace) noexcept {}

#endif

}  // namespace mp::detail
