"""A chunk size of zero: what does map return?"""
import multiprocessing as mp
import os

pool = mp.Pool(1)
try:
    print("map(abs, [-1, -2], chunksize=0) returns", pool.map(abs, [-1, -2], chunksize=0),
          flush=True)
except ValueError as error:
    print("ValueError", error, flush=True)
os._exit(0)
