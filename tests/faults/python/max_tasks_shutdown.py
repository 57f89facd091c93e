"""A worker may do one task, four are waiting, and the executor is shut down. Are they done?"""
import concurrent.futures
import multiprocessing as mp
import os
import time

if __name__ == "__main__":
    executor = concurrent.futures.ProcessPoolExecutor(
        1, mp_context=mp.get_context("forkserver"), max_tasks_per_child=1)
    futures = [executor.submit(time.sleep, 1) for _ in range(4)]
    executor.shutdown(wait=False)
    done, waiting = concurrent.futures.wait(futures, timeout=20)
    print("after 20 s", "some of four tasks are not done" if waiting else "all are done",
          flush=True)
    os._exit(0)
