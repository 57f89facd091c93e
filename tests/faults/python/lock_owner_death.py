"""A process ends while it holds a lock. Does anybody get the lock?"""
import multiprocessing as mp

lock = mp.Lock()
p = mp.Process(target=lock.acquire)
p.start()
p.join()
print("the holder has ended: acquire(timeout=2) is", lock.acquire(timeout=2))
