"""A process forks while one of its threads has a lock. Does the child get the lock?"""
import multiprocessing as mp
import os
import threading

lock = threading.Lock()


def child(asking):
    asking.send("")
    with lock:
        pass


lock.acquire()
holder = threading.Thread(target=threading.Event().wait, daemon=True)
holder.start()
here, there = mp.get_context("fork").Pipe()
p = mp.get_context("fork").Process(target=child, args=(there,))
p.start()
here.recv()
lock.release()
p.join(timeout=1)
print("the parent has released the lock, the child", "waits" if p.is_alive() else "goes on",
      flush=True)
p.kill()
os._exit(0)
