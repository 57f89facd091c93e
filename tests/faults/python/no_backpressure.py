"""One result of imap is taken. How much of the input has been read?"""
import multiprocessing as mp
import os
import time

read = 0


def numbers():
    global read
    for read in range(1000000):
        yield read


pool = mp.Pool(1)
next(pool.imap(abs, numbers()))
for _ in range(300):
    if read > 10000:
        break
    time.sleep(0.1)
print("after one result", "more than 10000 items" if read > 10000 else "a few items", "are read",
      flush=True)
os._exit(0)
