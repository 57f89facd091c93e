"""A child puts a megabyte and returns. Can it be joined before anybody reads?"""
import multiprocessing as mp
import os

q = mp.Queue()
p = mp.Process(target=q.put, args=(b"x" * 1000000,))
p.start()
q._reader.poll(None)
p.join(timeout=1)
print("join() before get(): the child", "cannot end" if p.is_alive() else "ends", flush=True)
p.kill()
os._exit(0)
