"""How does a worker's life begin, and in which ways can it end?"""
import os
import time
from multiprocessing import Pool, active_children


def initialize(text, start):
    global greeting, tasks_done
    greeting = text
    tasks_done = start


def greet(name):
    global tasks_done
    tasks_done += 1
    return f"{greeting} {name} ({tasks_done})"


def my_pid(_):
    return os.getpid()


def take_an_hour():
    time.sleep(3600)
    print("an hour has passed", flush=True)


def take_a_moment(i):
    time.sleep(0.02)
    print(f"task {i} is done", flush=True)


if __name__ == "__main__":
    with Pool(1, initialize, ("Hello", 100)) as pool:
        for text in pool.map(greet, ["Ann", "Bob"]):
            print(text, flush=True)

    with Pool(processes=1, maxtasksperchild=2) as pool:
        for i in range(6):
            pid = pool.apply(my_pid, (i,))
            print(f"task {i} was done by {pid}", flush=True)

    with Pool(2) as pool:
        pool.apply_async(take_an_hour)
        print(f"leaving {len(active_children())} workers", flush=True)
    print(f"left: {len(active_children())} workers", flush=True)

    with Pool(2) as pool:
        for i in range(5):
            pool.apply_async(take_a_moment, (i,))
        pool.close()
        pool.join()
        print("all tasks are done", flush=True)
