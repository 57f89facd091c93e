"""Of three parties of a barrier one dies. Are the others told?"""
import multiprocessing as mp
import os
import time

barrier = mp.Barrier(3)
parties = [mp.Process(target=barrier.wait) for _ in range(2)]
for p in parties:
    p.start()
while barrier.n_waiting < 2:
    time.sleep(0.01)
parties[0].kill()
parties[0].join()
parties[1].join(timeout=2)
print("2 s after the death the other", "waits on" if parties[1].is_alive() else "is told",
      flush=True)
parties[1].kill()
os._exit(0)
