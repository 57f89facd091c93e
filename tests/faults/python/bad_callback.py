"""A callback raises. What of the pool?"""
import multiprocessing as mp
import os


def callback(result):
    raise ValueError(result)


pool = mp.Pool(1)
pool.apply_async(abs, (-1,), callback=callback)
try:
    print("a later task returns", pool.apply_async(abs, (-1,)).get(timeout=2), flush=True)
except mp.TimeoutError:
    print("the result of a later task never comes", flush=True)
os._exit(0)
