"""When does each result arrive, and in which order?

Python's imap reads the whole input ahead, whatever is taken: of an endless one
it would fill the memory. So here the input itself stops when it is 8 ahead.
"""
import itertools
import multiprocessing
import threading
import time


def work(task):
    time.sleep(0.3 if task == 0 else 0.03)
    return task


def first_never_ends(task):
    if task == 0:
        time.sleep(3600)
    return task


class Arrivals:
    def __init__(self, way):
        self.way = way
        self.begin = time.monotonic()

    def note(self, result):
        passed = time.monotonic() - self.begin
        print(f"{self.way}: result {result} after {passed:.3f} s", flush=True)


class Endless:
    """0, 1, 2, … for as long as there is room."""

    def __init__(self, ahead):
        self.room = threading.Semaphore(ahead)
        self.read = 0
        self.ended = False

    def __iter__(self):
        for n in itertools.count():
            self.room.acquire()
            if self.ended:
                return
            self.read += 1
            yield n


if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        tasks = range(8)

        arrivals = Arrivals("map")
        for result in pool.map(work, tasks, 1):
            arrivals.note(result)

        arrivals = Arrivals("map_async")
        promised = pool.map_async(work, tasks, 1)
        print("map_async: main goes on", flush=True)
        for result in promised.get():
            arrivals.note(result)

        arrivals = Arrivals("imap")
        for result in pool.imap(work, tasks):
            arrivals.note(result)

        arrivals = Arrivals("imap_unordered")
        for result in pool.imap_unordered(work, tasks):
            arrivals.note(result)

        numbers = Endless(8)
        results = pool.imap_unordered(first_never_ends, numbers)
        for taken in range(5):
            print("endless: result", next(results), flush=True)
            numbers.room.release()
        print(f"endless: {numbers.read} items read for 5 results", flush=True)
        numbers.ended = True
        numbers.room.release()
