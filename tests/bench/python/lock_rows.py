import multiprocessing as mp
import time

from pairs import time_pair


def uncontended(count):
    lock = mp.Lock()
    start = time.perf_counter_ns()
    for _ in range(count):
        lock.acquire()
        lock.release()
    return (time.perf_counter_ns() - start) / count


def _add_in_turn(line, lock, counted, each):
    line.wait()
    for _ in range(each):
        with lock:
            counted.value += 1


def _add_under(lock, counted, count):
    each = (count + 1) // 2
    line = mp.Barrier(2)
    other = mp.Process(target=_add_in_turn, args=(line, lock, counted, each),
                       daemon=True)
    other.start()
    line.wait()
    start = time.perf_counter_ns()
    for _ in range(each):
        with lock:
            counted.value += 1
    other.join()
    ns = (time.perf_counter_ns() - start) / (2 * each)
    if counted.value != 2 * each:
        raise RuntimeError("the lock does not lock")
    return ns


def contended(count):
    return _add_under(mp.Lock(), mp.RawValue("q"), count)


def locked_add(count):
    value = mp.Value("q")
    return _add_under(value.get_lock(), value, count)


def event_wake(count):
    there = mp.Event()
    back = mp.Event()
    rounds = (count + 1) // 2

    def theirs():
        for _ in range(rounds):
            there.wait()
            there.clear()
            back.set()

    def ours():
        for _ in range(rounds):
            there.set()
            back.wait()
            back.clear()

    return time_pair(2 * rounds, theirs, ours)


def condition_wake(count):
    condition = mp.Condition()
    turn = mp.RawValue("i")
    rounds = (count + 1) // 2

    def take_turns(mine, following):
        for _ in range(rounds):
            with condition:
                while turn.value != mine:
                    condition.wait()
                turn.value = following
                condition.notify()

    return time_pair(2 * rounds, lambda: take_turns(1, 0), lambda: take_turns(0, 1))


def barrier_pass(count):
    barrier = mp.Barrier(2)

    def body():
        for _ in range(count):
            barrier.wait()

    return time_pair(count, body, body)


ROWS = {
    "lock.uncontended": uncontended,
    "lock.contended": contended,
    "value.locked_add": locked_add,
    "event.wake": event_wake,
    "condition.wake": condition_wake,
    "barrier.pass": barrier_pass,
}
