"""How does a process get something to work on?"""
import math
import multiprocessing
from multiprocessing import Process


def worker(num):
    print(f"Worker: {num}", flush=True)


def calc_square(numbers):
    for place, i in enumerate(numbers):
        numbers[place] = i * i
    print(f"Squares: {numbers}", flush=True)


def calc_square_root(numbers):
    roots = [round(math.sqrt(i), 2) for i in numbers]
    print(f"Square Roots: {roots}", flush=True)


if __name__ == "__main__":
    jobs = []
    for i in range(5):
        p = multiprocessing.Process(target=worker, args=(i,))
        jobs.append(p)
        p.start()
    for p in jobs:
        p.join()

    number_set = list(range(1, 11))
    p1 = Process(target=calc_square, name="Process 1", args=(number_set,))
    p2 = Process(target=calc_square_root, args=(number_set,))
    p1.start()
    p2.start()

    p1.join()
    p2.join()
    print(f"{p1.name} and {p2.name} worked on "
          f"{number_set[0]} to {number_set[-1]}", flush=True)
