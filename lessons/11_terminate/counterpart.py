"""How is a process ended that does not end by itself?

A bool is printed as true or false in C++, as True or False in Python.
"""
import multiprocessing
import time


def slow_worker():
    print("Starting worker", flush=True)
    time.sleep(20)
    print("Finished worker", flush=True)


if __name__ == "__main__":
    p = multiprocessing.Process(target=slow_worker)
    print(f"BEFORE: {p} {p.is_alive()}", flush=True)

    p.start()
    print(f"DURING: {p} {p.is_alive()}", flush=True)

    p.terminate()
    print(f"TERMINATED: {p} {p.is_alive()}", flush=True)

    p.join()
    print(f"JOINED: {p} {p.is_alive()}", flush=True)
    print(f"Process exit code: {p.exitcode}", flush=True)
