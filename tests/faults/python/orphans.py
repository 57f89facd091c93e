"""A program is killed while its child waits at a queue. Does the child end?"""
import multiprocessing as mp
import os
import time


def consume(queue, ready):
    ready.send(os.getpid())
    queue.get()


def program(ready):
    queue = mp.Queue()
    mp.Process(target=consume, args=(queue, ready), daemon=False).start()
    time.sleep(60)


here, there = mp.Pipe()
p = mp.Process(target=program, args=(there,))
p.start()
consumer = here.recv()
p.kill()
p.join()
time.sleep(2)
there_still = os.path.exists(f"/proc/{consumer}")
print("2 s after the program's death its child", "waits on" if there_still else "is gone",
      flush=True)
os._exit(0)
