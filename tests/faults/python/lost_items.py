"""A child puts 1000 items and leaves by os._exit. How many come?"""
import multiprocessing as mp
import os
import queue


def child(q):
    for _ in range(1000):
        q.put(b"x" * 4000)
    os._exit(0)


q = mp.Queue()
p = mp.Process(target=child, args=(q,))
p.start()
p.join()
came = 0
try:
    while True:
        q.get(timeout=1)
        came += 1
except queue.Empty:
    pass
print("of 1000 items put,", "some are lost" if came < 1000 else "all come")
