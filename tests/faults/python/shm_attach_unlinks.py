"""Another program attaches to a segment, and ends. Is the segment still there?"""
import os
import subprocess
import sys
import time
from multiprocessing import shared_memory

PROGRAM = """
import sys
from multiprocessing.shared_memory import SharedMemory
SharedMemory(sys.argv[1]).close()
"""
segment = shared_memory.SharedMemory(create=True, size=8)
path = "/dev/shm/" + segment._name.lstrip("/")
subprocess.run([sys.executable, "-c", PROGRAM, segment.name], stderr=subprocess.DEVNULL)
for _ in range(300):
    there = os.path.exists(path)
    if not there:
        break
    time.sleep(0.1)
print("after the other program's end the segment is", "there" if there else "gone", flush=True)
if there:
    os.unlink(path)
os._exit(0)
