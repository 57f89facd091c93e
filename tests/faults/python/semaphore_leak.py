"""A program with a lock is killed, with all it started. Is anything left?"""
import os
import subprocess
import sys

PROGRAM = """
import multiprocessing as mp, time
from multiprocessing import resource_tracker as rt
lock = mp.get_context("spawn").Lock()
print(rt._resource_tracker._pid, "/dev/shm/sem." + lock._semlock.name[1:], flush=True)
time.sleep(60)
"""
program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)
tracker, path = program.stdout.readline().decode().split()
os.kill(int(tracker), 9)
program.kill()
program.wait()
print("the lock's semaphore is", "left behind" if os.path.exists(path) else "gone")
if os.path.exists(path):
    os.unlink(path)
