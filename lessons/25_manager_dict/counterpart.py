"""How do processes fill one dict?

Where C++ differs: += on an entry is three steps here (read, add, write), so it
needs a lock that all of the processes take.
"""
import multiprocessing


def do_work(dictionary, item):
    dictionary[item] = item ** 2


def count(totals, lock):
    for _ in range(100):
        with lock:
            totals["calls"] += 1


if __name__ == '__main__':
    mgr = multiprocessing.Manager()
    d = mgr.dict()
    jobs = [
        multiprocessing.Process(target=do_work, args=(d, i))
        for i in range(8)
    ]
    for j in jobs:
        j.start()
    for j in jobs:
        j.join()
    copy = d.copy()
    d.clear()
    d.update(sorted(copy.items()))
    print('Results:', d)

    totals = mgr.dict(calls=0)
    lock = mgr.Lock()
    counters = [
        multiprocessing.Process(target=count, args=(totals, lock))
        for _ in range(8)
    ]
    for counter in counters:
        counter.start()
    for counter in counters:
        counter.join()
    print('Calls:', totals["calls"])
