"""What does it take to run a function in a process of its own?"""
import atexit

# Registered before multiprocessing registers its own end, hence run after it.
atexit.register(lambda: print("The program ends.", flush=True))

import multiprocessing  # noqa: E402
import time  # noqa: E402


def worker():
    time.sleep(0.2)
    print("Worker", flush=True)


def add(a, b):
    time.sleep(0.05)
    print(a + b, flush=True)


if __name__ == "__main__":
    jobs = []
    for i in range(5):
        p = multiprocessing.Process(target=worker)
        jobs.append(p)
        p.start()

    workerproc = multiprocessing.Process(target=add, args=(1, 2))
    workerproc.start()
    workerproc.join()

    print("main: nothing left to do", flush=True)
