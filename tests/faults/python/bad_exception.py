"""A task raises an exception that cannot be made again from its text. What of the pool?"""
import multiprocessing as mp
import os


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def task():
    raise TwoArguments(1, 2)


pool = mp.Pool(1)
pool.apply_async(task)
try:
    print("a later task returns", pool.apply_async(abs, (-1,)).get(timeout=2), flush=True)
except mp.TimeoutError:
    print("the result of a later task never comes", flush=True)
os._exit(0)
