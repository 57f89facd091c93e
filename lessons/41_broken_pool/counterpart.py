"""What if a worker dies?

Python's executor does not know who died of what, and cannot go on: the middle
part, in which a death is one task's error, is C++ only. A failing initializer
is reported by the worker's log, the exception does not tell.
"""
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool


def double_or_die(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 2


def cannot_start():
    raise RuntimeError("no licence found")


def killed_worker():
    with ProcessPoolExecutor(2) as executor:
        try:
            executor.submit(double_or_die, 3).result()
        except BrokenProcessPool as e:
            print(f"BrokenProcessPool: {e}", flush=True)
        try:
            executor.submit(double_or_die, 4)
        except BrokenProcessPool:
            print("submit: BrokenProcessPool", flush=True)


def failing_initializer():
    with ProcessPoolExecutor(2, initializer=cannot_start) as executor:
        try:
            executor.submit(double_or_die, 1).result()
        except BrokenProcessPool as e:
            print(f"initializer: {e}", flush=True)


def no_workers():
    try:
        ProcessPoolExecutor(max_workers=0)
    except ValueError as e:
        print(f"ValueError: {e}", flush=True)


if __name__ == "__main__":
    killed_worker()
    failing_initializer()
    no_workers()
