"""A task waits for a task of the same executor. Does that end?"""
import concurrent.futures
import os

executor = concurrent.futures.ThreadPoolExecutor(1)
future = executor.submit(lambda: executor.submit(abs, -1).result())
try:
    print("the outer task returns", future.result(timeout=2), flush=True)
except concurrent.futures.TimeoutError:
    print("the outer task waits for ever", flush=True)
os._exit(0)
