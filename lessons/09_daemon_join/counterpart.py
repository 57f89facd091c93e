"""How long does join() wait, and does it wait for a daemon, too?"""
import multiprocessing
import time


def daemon():
    name = multiprocessing.current_process().name
    print(f"Starting: {name}", flush=True)
    time.sleep(0.4)
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
    time.sleep(0.2)
    n.start()

    d.join()
    n.join()
    print(f"joined: {d.name} {d.exitcode}, {n.name} {n.exitcode}", flush=True)
