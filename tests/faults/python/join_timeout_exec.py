"""A child becomes another program. Does join keep its time-out?"""
import multiprocessing as mp
import os
import time

p = mp.Process(target=os.execlp, args=("sleep", "sleep", "6"))
p.start()
while open(f"/proc/{p.pid}/comm").read() != "sleep\n":
    time.sleep(0.01)
begin = time.monotonic()
p.join(timeout=1)
took = time.monotonic() - begin
print("join(timeout=1) took", "more than 3 s" if took > 3 else "at most 3 s")
