"""May I wait for a process before I read what it sent?

Differs from main.cpp in one place: the large message is read before join().
CPython's queue is a pipe of 64 KiB with a thread that fills it; a child does
not end before that thread has got rid of everything. Joined first, it would
wait for a reader, and the reader for it: for ever.
"""
from multiprocessing import Process, Queue


def get_even(nums, q):
    q.put([n for n in nums if n % 2 == 0])


if __name__ == "__main__":
    q = Queue()
    p = Process(target=get_even, args=(range(100), q))
    p.start()
    p.join()
    while not q.empty():
        print(f"Queue: {q.get()}", flush=True)

    p = Process(target=get_even, args=(range(4_000_000), q))
    p.start()
    numbers = q.get()
    p.join()
    print(f"Queue: {len(numbers)} numbers, the last {numbers[-1]}", flush=True)
