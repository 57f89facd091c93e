"""A worker of a pool is killed while it works. What becomes of its task?"""
import multiprocessing as mp
import os
import signal


def task():
    os.kill(os.getpid(), signal.SIGKILL)


pool = mp.Pool(2)
try:
    pool.apply_async(task).get(timeout=2)
    print("get() returns", flush=True)
except mp.TimeoutError:
    print("2 s later get() still waits", flush=True)
os._exit(0)
