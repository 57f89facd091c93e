"""A process ends while it holds a manager's lock. Does anybody get the lock?"""
import multiprocessing as mp
import os

manager = mp.Manager()
lock = manager.Lock()
p = mp.Process(target=lock.acquire)
p.start()
p.join()
print("the holder has ended: acquire(True, 2) is", lock.acquire(True, 2), flush=True)
os._exit(0)
