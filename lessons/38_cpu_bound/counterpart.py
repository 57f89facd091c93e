"""Is it worth the trouble, for work that only computes?

The loop is shorter than in C++, so that it takes about the same time.
"""
import multiprocessing
import random
import statistics
import time

SAMPLE_SIZE = 3
WORKERS = 10
TASK_COUNT = 12
CHUNKSIZE = 4


def _do_work(task):
    cycles = 1 + int(random.random() * 10 ** 2)
    for i in range(100_000):
        # burn some CPU
        i * i * cycles
    return cycles


def average_of(run):
    samples = []
    for _ in range(SAMPLE_SIZE):
        t0 = time.time()
        run()
        t1 = time.time()
        print(f"Elapsed: {t1 - t0:.4f} s", flush=True)
        samples.append(t1 - t0)
    return statistics.mean(samples)


def run_single():
    for cycles in map(_do_work, range(TASK_COUNT)):
        print("Cycles:", cycles, flush=True)


def run_multi():
    with multiprocessing.Pool(processes=WORKERS) as pool:
        tasks = range(TASK_COUNT)
        for cycles in pool.imap_unordered(_do_work, tasks, CHUNKSIZE):
            print("Cycles:", cycles, flush=True)


if __name__ == "__main__":
    print("Starting single process test", flush=True)
    single = average_of(run_single)
    print("Average processing time for single process for "
          f"{SAMPLE_SIZE} samples of {TASK_COUNT} tasks: {single:.4f} s")

    print("Starting multiprocessing test", flush=True)
    multi = average_of(run_multi)
    print(f"Average processing time for {SAMPLE_SIZE} samples with "
          f"{WORKERS} workers for {TASK_COUNT} tasks: {multi:.4f} s")
    print(f"Speed-up: {single / multi:.2f} on "
          f"{multiprocessing.cpu_count()} processors", flush=True)
