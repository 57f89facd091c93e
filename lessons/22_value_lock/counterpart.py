"""How do two processes change one number and lose nothing?"""
import os
from multiprocessing import Barrier, Lock, Process, Value

ROUNDS = 10_000


def add(val, lock, start):
    start.wait()
    for i in range(ROUNDS):
        lock.acquire()
        seen = val.value
        if i % 100 == 0:
            os.sched_yield()
        val.value = seen + 1
        lock.release()
    print(f"Value in add: {val.value}", flush=True)


def subtract(val, lock, start):
    start.wait()
    for i in range(ROUNDS):
        with lock:
            seen = val.value
            if i % 100 == 0:
                os.sched_yield()
            val.value = seen - 1
    print(f"Value in subtract: {val.value}", flush=True)


if __name__ == "__main__":
    lock = Lock()
    val = Value("i", 1)
    start = Barrier(2)
    p1 = Process(target=add, args=(val, lock, start))
    p2 = Process(target=subtract, args=(val, lock, start))
    p1.start()
    p2.start()
    p1.join()
    p2.join()

    print(f"Value is {val.value}", flush=True)
