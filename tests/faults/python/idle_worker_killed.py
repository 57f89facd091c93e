"""A worker of a pool is killed while it has nothing to do. Does the pool go on?"""
import multiprocessing as mp
import os
import time

pool = mp.Pool(1)
while not pool._inqueue._rlock._semlock._is_zero():
    time.sleep(0.01)
pool._pool[0].kill()
pool._pool[0].join()
try:
    print("a later task returns", pool.apply_async(abs, (-1,)).get(timeout=3), flush=True)
except mp.TimeoutError:
    print("a later task is not done within 3 s", flush=True)
os._exit(0)
