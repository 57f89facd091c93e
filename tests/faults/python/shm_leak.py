"""A program with a segment is killed, with all it started. Is anything left?"""
import os
import subprocess
import sys

PROGRAM = """
import time
from multiprocessing import resource_tracker as rt, shared_memory
segment = shared_memory.SharedMemory(create=True, size=8)
print(rt._resource_tracker._pid, "/dev/shm/" + segment._name.lstrip("/"), flush=True)
time.sleep(60)
"""
program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)
tracker, path = program.stdout.readline().decode().split()
os.kill(int(tracker), 9)
program.kill()
program.wait()
print("the segment is", "left behind" if os.path.exists(path) else "gone")
if os.path.exists(path):
    os.unlink(path)
