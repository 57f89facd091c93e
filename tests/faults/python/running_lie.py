"""One worker, ten tasks. How many are running?"""
import concurrent.futures
import os
import time

executor = concurrent.futures.ProcessPoolExecutor(1)
futures = [executor.submit(time.sleep, 60) for _ in range(10)]
for _ in range(300):
    running = sum(future.running() for future in futures)
    if running > 1:
        break
    time.sleep(0.1)
print("with one worker,", "more than one task is" if running > 1 else "one task is", "running()",
      flush=True)
os._exit(0)
