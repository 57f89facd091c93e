"""How does a program that is gone tell us why?

Python reports an exception with the lines that led to it; C++ does not know
them, and names the exception's type with its namespace.
"""
import multiprocessing
import sys
import time


def exit_error():
    sys.exit(1)


def exit_ok():
    return


def return_value():
    return 1


def raises():
    raise RuntimeError("There was an error!")


def terminated():
    time.sleep(20)


if __name__ == "__main__":
    jobs = []
    for f in [exit_error, exit_ok, return_value, raises, terminated]:
        print(f"Starting process for {f.__name__}", flush=True)
        j = multiprocessing.Process(target=f, name=f.__name__)
        jobs.append(j)
        j.start()

    jobs[-1].terminate()

    for j in jobs:
        j.join()
        print(f"{j.name}.exitcode = {j.exitcode}", flush=True)
