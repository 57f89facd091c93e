"""A worker may do two tasks, and ten are waiting. Are they done?"""
import concurrent.futures
import multiprocessing as mp
import os

if __name__ == "__main__":
    executor = concurrent.futures.ProcessPoolExecutor(
        1, mp_context=mp.get_context("forkserver"), max_tasks_per_child=2)
    futures = [executor.submit(abs, -1) for _ in range(10)]
    done, waiting = concurrent.futures.wait(futures, timeout=15)
    print("after 15 s", "some of ten tasks are not done" if waiting else "all are done",
          flush=True)
    os._exit(0)
