"""What if a process takes longer than we are willing to wait?

A bool is printed as true or false in C++, as True or False in Python.
"""
import multiprocessing
import time


def daemon():
    name = multiprocessing.current_process().name
    print(f"Starting: {name}", flush=True)
    time.sleep(20)
    print(f"Exiting : {name}", flush=True)


def non_daemon():
    name = multiprocessing.current_process().name
    print(f"Starting: {name}", flush=True)
    print(f"Exiting : {name}", flush=True)


if __name__ == "__main__":
    d = multiprocessing.Process(name="daemon", target=daemon)
    d.daemon = True

    n = multiprocessing.Process(name="non-daemon", target=non_daemon)
    n.daemon = False

    d.start()
    n.start()

    begin = time.monotonic()
    d.join(1)
    waited = time.monotonic() - begin

    print(f"d.is_alive() {d.is_alive()}", flush=True)
    print(f"d has an exitcode: {d.exitcode is not None}", flush=True)
    print(f"d.join(1s) took {waited:.3f} s", flush=True)
    n.join()
