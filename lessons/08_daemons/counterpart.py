"""Must a program wait for every process that it has started?"""
import multiprocessing
import time


def daemon():
    p = multiprocessing.current_process()
    print(f"Starting: {p.name} {p.pid}", flush=True)
    time.sleep(20)
    print(f"Exiting : {p.name} {p.pid}", flush=True)


def non_daemon():
    p = multiprocessing.current_process()
    print(f"Starting: {p.name} {p.pid}", flush=True)
    print(f"Exiting : {p.name} {p.pid}", flush=True)


if __name__ == "__main__":
    d = multiprocessing.Process(name="daemon", target=daemon)
    d.daemon = True

    n = multiprocessing.Process(name="non-daemon", target=non_daemon)
    n.daemon = False

    d.start()
    time.sleep(0.5)
    n.start()
