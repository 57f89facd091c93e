"""Which order can each of the other locks promise?"""
import os
from multiprocessing import (Barrier, BoundedSemaphore, Condition, Event,
                             Process, RLock, Semaphore, Value)


def run(*processes):
    for p in processes:
        p.start()
    return processes


def join(processes):
    for p in processes:
        p.join()


def visit(lock, door, name):
    door.wait()
    with lock:
        print(f"RLock: {name} holds it", flush=True)
        os.sched_yield()
        with lock:
            print(f"RLock: {name} holds it twice", flush=True)


def scene_rlock():
    lock, door = RLock(), Barrier(2)
    join(run(*[Process(target=visit, args=(lock, door, name))
               for name in "AB"]))


def stay(places, met):
    with places:
        met.wait()
        met.wait()


def scene_semaphore():
    places, met = Semaphore(2), Barrier(3)
    guests = run(*[Process(target=stay, args=(places, met))
                   for _ in range(2)])
    met.wait()
    print("Semaphore: two are in, a third",
          "gets in" if places.acquire(block=False) else "does not", flush=True)
    met.wait()
    join(guests)
    print("Semaphore: they are out, a third",
          "gets in" if places.acquire(block=False) else "does not", flush=True)


def scene_bounded_semaphore():
    places = BoundedSemaphore(1)
    places.acquire()
    places.release()
    try:
        places.release()
    except ValueError as error:
        print(f"BoundedSemaphore: {error}", flush=True)


def start_running(gun, n):
    gun.wait()
    print(f"Event: runner {n} runs", flush=True)


def scene_event():
    gun = Event()
    runners = run(*[Process(target=start_running, args=(gun, n))
                    for n in (1, 2, 3)])
    runners[0].join(0.05)
    print("Event: on your marks", flush=True)
    gun.set()
    join(runners)


def play(turn_passed, turn, me, word):
    for n in (1, 2, 3):
        with turn_passed:
            turn_passed.wait_for(lambda: turn.value == me)
            print(f"Condition: {word} {n}", flush=True)
            turn.value = 1 - me
            turn_passed.notify()


def scene_condition():
    turn_passed, turn = Condition(), Value("i", 0)
    join(run(Process(target=play, args=(turn_passed, turn, 1, "pong")),
             Process(target=play, args=(turn_passed, turn, 0, "ping"))))


def work(both_parts, n):
    print(f"Barrier: worker {n} ends part 1", flush=True)
    both_parts.wait()
    print(f"Barrier: worker {n} begins part 2", flush=True)


def scene_barrier():
    both_parts = Barrier(3)
    join(run(*[Process(target=work, args=(both_parts, n))
               for n in (1, 2, 3)]))


if __name__ == "__main__":
    scene_rlock()
    scene_semaphore()
    scene_bounded_semaphore()
    scene_event()
    scene_condition()
    scene_barrier()
