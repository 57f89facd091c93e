"""A worker ignores SIGTERM. Does terminate() return?"""
import multiprocessing as mp
import os
import signal
import threading
import time


def stay(ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.send("")
    time.sleep(60)


here, there = mp.Pipe()
pool = mp.Pool(1, stay, (there,))
here.recv()
ending = threading.Thread(target=pool.terminate, daemon=True)
ending.start()
ending.join(timeout=3)
print("after 3 s terminate()", "has not returned" if ending.is_alive() else "is through",
      flush=True)
os._exit(0)
