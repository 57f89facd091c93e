"""A process is killed in the middle of a message. What does the reader do?"""
import multiprocessing as mp
import os

q = mp.Queue()
writer = mp.Process(target=q.put, args=(b"x" * 10000000,))
writer.start()
q._reader.poll(None)
writer.kill()
writer.join()
reader = mp.Process(target=q.get, kwargs={"timeout": 1})
reader.start()
reader.join(timeout=3)
print("3 s after get(timeout=1) the reader", "waits on" if reader.is_alive() else "is through",
      flush=True)
reader.kill()
os._exit(0)
