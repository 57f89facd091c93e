"""A pool is terminated. What is said to those who wait for results?"""
import multiprocessing as mp
import os
import time

pool = mp.Pool(1)
result = pool.apply_async(time.sleep, (60,))
pool.terminate()
try:
    result.get(timeout=2)
    print("get() returns", flush=True)
except mp.TimeoutError:
    print("2 s after terminate() get() still waits", flush=True)
except Exception as error:
    print("get() raises", type(error).__name__, flush=True)
os._exit(0)
