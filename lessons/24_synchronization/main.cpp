// Which order can each of the other locks promise?
//
// Python:  RLock, Semaphore, BoundedSemaphore, Event, Condition, Barrier
// Watch:   six scenes; in each, what comes before what, in every run.
// Run:     ./learn synchronization

#include <mp/mp.hpp>

#include <mutex>
#include <thread>

using namespace std::chrono_literals;

void start_all(auto&... processes) { (processes.start(), ...); }
void join_all(auto&... processes) { (processes.join(), ...); }

// [rlock]
// Whoever holds an RLock may take it again; it is free after as many
// releases. With a Lock it would wait for itself, for ever.
void visit(mp::RLock lock, mp::Barrier door, char name) {
  door.wait();
  std::lock_guard outer(lock);
  mp::println("RLock: {} holds it", name);
  std::this_thread::yield();
  std::lock_guard inner(lock);
  mp::println("RLock: {} holds it twice", name);
}

void scene_rlock() {
  mp::RLock lock;
  mp::Barrier door(2);
  mp::Process a(visit, lock, door, 'A'), b(visit, lock, door, 'B');
  start_all(a, b);
  join_all(a, b);
}
// [/rlock]

// [semaphore]
// So many may be in at a time, and no more. The barrier `met` lets main look
// while both guests are in, and the guests go when it has looked.
void stay(mp::Semaphore places, mp::Barrier met) {
  std::lock_guard guard(places);
  met.wait();
  met.wait();
}

void scene_semaphore() {
  mp::Semaphore places(2);
  mp::Barrier met(3);
  mp::Process one(stay, places, met), two(stay, places, met);
  start_all(one, two);
  met.wait();
  bool in = places.acquire(false);
  mp::println("Semaphore: two are in, a third {}", in ? "gets in" : "does not");
  met.wait();
  join_all(one, two);
  in = places.acquire(false);
  mp::println("Semaphore: they are out, a third {}",
              in ? "gets in" : "does not");
}
// [/semaphore]

// [bounded]
// A Semaphore would now have two places; this one remembers it began with one.
void scene_bounded_semaphore() {
  mp::BoundedSemaphore places(1);
  places.acquire();
  places.release();
  try {
    places.release();
  } catch (const mp::ValueError& error) {
    mp::println("BoundedSemaphore: {}", error.what());
  }
}
// [/bounded]

// [event]
// Nobody passes before it is set; then everybody does, late comers, too. Main
// takes its time: whoever did not wait would have run by then.
void start_running(mp::Event gun, int n) {
  gun.wait();
  mp::println("Event: runner {} runs", n);
}

void scene_event() {
  mp::Event gun;
  mp::Process one(start_running, gun, 1), two(start_running, gun, 2),
      three(start_running, gun, 3);
  start_all(one, two, three);
  one.join(50ms);
  mp::println("Event: on your marks");
  gun.set();
  join_all(one, two, three);
}
// [/event]

// [condition]
// Waits for a fact, not for a signal: wait_for() lets go of the lock while it
// waits, holds it again when it looks, and returns when it is `me`'s turn.
void play(mp::Condition turn_passed, mp::Value<int> turn, int me,
          const char* word) {
  for (int n = 1; n <= 3; ++n) {
    std::lock_guard guard(turn_passed);
    turn_passed.wait_for([&] { return turn.value == me; });
    mp::println("Condition: {} {}", word, n);
    turn.value = 1 - me;
    turn_passed.notify();
  }
}

void scene_condition() {
  mp::Condition turn_passed;
  mp::Value<int> turn(0);
  mp::Process pong(play, turn_passed, turn, 1, "pong"),
      ping(play, turn_passed, turn, 0, "ping");
  start_all(pong, ping);
  join_all(pong, ping);
}
// [/condition]

// [barrier]
// A point that nobody passes before all have reached it.
void work(mp::Barrier both_parts, int n) {
  mp::println("Barrier: worker {} ends part 1", n);
  both_parts.wait();
  mp::println("Barrier: worker {} begins part 2", n);
}

void scene_barrier() {
  mp::Barrier both_parts(3);
  mp::Process one(work, both_parts, 1), two(work, both_parts, 2),
      three(work, both_parts, 3);
  start_all(one, two, three);
  join_all(one, two, three);
}
// [/barrier]

int main() {
  scene_rlock();
  scene_semaphore();
  scene_bounded_semaphore();
  scene_event();
  scene_condition();
  scene_barrier();
}
