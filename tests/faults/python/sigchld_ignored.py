"""SIGCHLD is ignored, so the system keeps no exit status. Is the child seen to end?"""
import multiprocessing as mp
import os
import signal
import time

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
p = mp.Process(target=int)
p.start()
while os.path.exists(f"/proc/{p.pid}"):
    time.sleep(0.01)
print(f"the process is gone: is_alive() is {p.is_alive()}, exitcode is {p.exitcode}", flush=True)
os._exit(0)
