"""A task calls sys.exit. What becomes of it?"""
import multiprocessing as mp
import os
import sys

pool = mp.Pool(1)
try:
    pool.apply_async(sys.exit, (3,)).get(timeout=2)
    print("get() returns", flush=True)
except mp.TimeoutError:
    print("2 s later get() still waits", flush=True)
except SystemExit:
    print("get() raises SystemExit", flush=True)
os._exit(0)
