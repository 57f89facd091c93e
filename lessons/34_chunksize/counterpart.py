"""What does it cost to hand a task to another process? With fewer items and attempts than the C++
program, so that it does not take a minute."""
import multiprocessing as mp
import time


def add2(i):
    return i + 2


def stir(rounds):
    x = rounds
    for _ in range(rounds):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
    return x


def us_per_item(items, run):
    best = float("inf")
    for _ in range(2):
        begin = time.perf_counter()
        run()
        best = min(best, (time.perf_counter() - begin) * 1e6 / len(items))
    return best


if __name__ == "__main__":
    with mp.Pool(2) as pool:
        numbers = range(500)
        sums = list(map(add2, numbers))
        loop = us_per_item(numbers, lambda: list(map(add2, numbers)))
        print(f"loop: {loop:.4f} µs per item", flush=True)

        same = []

        def measure(chunk):
            return us_per_item(numbers, lambda: same.append(
                pool.map(add2, numbers, chunk) == sums))

        for chunk in (1, 10, 100, 1000):
            us = measure(chunk)
            print(f"chunksize {chunk}: {us:.4f} µs per item", flush=True)
        print(f"chunksize not given: {measure(None):.4f} µs per item")

        wins = None
        for rounds in (10, 100, 1000, 10_000, 100_000):
            items = [rounds] * 5
            alone = us_per_item(items, lambda: list(map(stir, items)))
            results = list(map(stir, items))
            pooled = us_per_item(items, lambda: same.append(
                pool.map(stir, items) == results))
            if wins is None and pooled < alone:
                wins = rounds
            print(f"{rounds} rounds per item: loop {alone:.3f} µs, "
                  f"pool {pooled:.3f} µs", flush=True)
        print("the pool wins",
              f"from {wins} rounds on" if wins else "nowhere here")
        print("the same results each time:", "yes" if all(same) else "no")
