"""Which process is calling this function?"""
import os
from multiprocessing import Process


def doubler(number):
    result = number * 2
    proc = os.getpid()
    print(f"{number} doubled to {result} by process id: {proc}", flush=True)


if __name__ == "__main__":
    numbers = [5, 10, 15, 20, 25]
    procs = []
    for number in numbers:
        proc = Process(target=doubler, args=(number,))
        procs.append(proc)
        proc.start()

    for proc in procs:
        proc.join()

    for proc in procs:
        print(f"joined: {proc.pid}", flush=True)
    print(f"main's own process id: {os.getpid()}", flush=True)
