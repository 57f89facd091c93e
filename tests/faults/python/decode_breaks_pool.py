"""An argument cannot be made again from its bytes. Which tasks fail?"""
import concurrent.futures
import os


class Argument:
    def __reduce__(self):
        return int, ("no number",)


executor = concurrent.futures.ProcessPoolExecutor(1)
futures = [executor.submit(abs, Argument()), executor.submit(abs, -1)]
kinds = [type(future.exception()).__name__ for future in futures]
print("the task and the next one:", ", ".join(kinds), flush=True)
os._exit(0)
