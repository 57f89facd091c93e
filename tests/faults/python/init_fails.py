"""An initializer fails in every worker. How often is it tried?"""
import multiprocessing as mp
import os
import sys
import time


def initializer():
    sys.stderr.close()
    raise ValueError("no")


pool = mp.Pool(1, initializer)
started = 0
for _ in range(300):
    started = max([started, *(worker._identity[-1] for worker in list(pool._pool))])
    if started > 10:
        break
    time.sleep(0.1)
print("the pool of one starts", "more than 10 workers" if started > 10 else "a few workers",
      flush=True)
os._exit(0)
