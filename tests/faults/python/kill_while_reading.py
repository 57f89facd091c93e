"""A process is killed while it waits in get(). Can others still read the queue?"""
import multiprocessing as mp
import os
import queue
import time

q = mp.Queue()
p = mp.Process(target=q.get)
p.start()
while not q._rlock._semlock._is_zero():
    time.sleep(0.01)
p.kill()
p.join()
q.put("item")
try:
    print("get() returns", q.get(timeout=2), flush=True)
except queue.Empty:
    print("an item is there, get(timeout=2) raises Empty", flush=True)
os._exit(0)
