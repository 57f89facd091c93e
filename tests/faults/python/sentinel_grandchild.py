"""A child that has a child of its own ends. Does its sentinel say so?"""
import multiprocessing as mp
import multiprocessing.connection
import os
import signal
import time


def child():
    mp.Process(target=time.sleep, args=(60,)).start()
    os.kill(os.getpid(), signal.SIGKILL)


p = mp.Process(target=child)
p.start()
while p.is_alive():
    time.sleep(0.01)
ready = mp.connection.wait([p.sentinel], timeout=1)
print(f"is_alive() is {p.is_alive()}, the sentinel is {'ready' if ready else 'not ready'}",
      flush=True)
os._exit(0)
