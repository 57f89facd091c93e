"""One worker of two dies. Which tasks fail?"""
import concurrent.futures
import os

executor = concurrent.futures.ProcessPoolExecutor(1)
futures = [executor.submit(os._exit, 1)] + [executor.submit(abs, -1) for _ in range(9)]
failed = sum(future.exception() is not None for future in futures)
print(f"one task ends its worker, {failed} of 10 fail", flush=True)
os._exit(0)
