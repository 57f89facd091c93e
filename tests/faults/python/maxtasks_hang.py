"""Workers end a few milliseconds after a task, wherever they are then, and are replaced. Does the
pool go on?"""
import multiprocessing as mp
import os
import threading


def task(delay):
    threading.Timer(delay, os._exit, [1]).start()


if __name__ == "__main__":
    pool = mp.Pool(2)
    lost_in_a_row = 0
    for i in range(100):
        try:
            pool.apply_async(task, [i % 10 * 0.001]).get(timeout=1)
            lost_in_a_row = 0
        except mp.TimeoutError:
            lost_in_a_row += 1
        if lost_in_a_row == 5:
            print("before a hundredth worker has ended, no task is done any more", flush=True)
            break
    else:
        print("it goes on", flush=True)
    os._exit(0)
