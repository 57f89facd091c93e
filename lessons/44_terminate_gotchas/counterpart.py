"""What does a terminated process leave behind?

Here the lock is gone with its holder. Whoever waits for it waits for ever, so
this program gives up after a second, and goes on with a new lock.
"""
import multiprocessing as mp


def transfer(accounts, lock, go_on, report):
    try:
        with lock:
            accounts[0] -= 10
            report.send("in the middle")
            go_on.wait()
            accounts[1] += 10
    finally:
        print(f"{mp.current_process().name}: notes put away", flush=True)


def look(accounts, lock):
    if not lock.acquire(timeout=1):
        print("main: no lock within a second; nobody will let go", flush=True)
        print(f"main: together {accounts[0] + accounts[1]}", flush=True)
        accounts[0] = 100 - accounts[1]
        print("main: mended", flush=True)
        lock = mp.Lock()
        lock.acquire()
    else:
        print("main: I have the lock", flush=True)
    print(f"main: together {accounts[0] + accounts[1]}", flush=True)
    lock.release()
    return lock


if __name__ == "__main__":
    accounts = mp.RawArray("i", [50, 50])
    lock = mp.Lock()
    here, there = mp.Pipe()

    ended = mp.Process(target=transfer, name="ended",
                       args=(accounts, lock, mp.Event(), there))
    ended.start()
    here.recv()
    ended.terminate()
    ended.join()
    print(f"main: ended by {ended.exitcode}", flush=True)
    lock = look(accounts, lock)

    # A new event, too: one whose sleeper was killed may not be set any more.
    go_on = mp.Event()
    asked = mp.Process(target=transfer, name="asked",
                       args=(accounts, lock, go_on, there))
    asked.start()
    here.recv()
    go_on.set()
    asked.join()
    print(f"main: came to its end, {asked.exitcode}", flush=True)
    look(accounts, lock)
