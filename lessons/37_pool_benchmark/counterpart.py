"""How much faster is a pool, and how many workers should it have?

Fewer calls, so that it does not take a minute. Python's map tells
nothing of its progress; imap does, one result at a time.
"""
import multiprocessing
import sys
import time


def calc_cubes(_):
    """The sum of the cubes of the numbers up to 1000."""
    return sum(list(map(lambda n: n * n * n, range(1000))))


def with_progress(results, total):
    shown = 0
    for finished, result in enumerate(results, start=1):
        if finished * 10 // total > shown:
            shown = finished * 10 // total
            print(f"calc_cubes: {shown * 10}% {finished}/{total}",
                  file=sys.stderr, flush=True)
        yield result


if __name__ == "__main__":
    calls = [0] * 500

    print("Starting Serial Processing", flush=True)
    t2 = time.time()
    sums = list(map(calc_cubes, calls))
    serial = time.time() - t2
    print(f"Sequential Processing Time Taken: {serial:.4f} s", flush=True)
    print(f"{len(sums)} calls, sum of all cubes {sum(sums)}", flush=True)

    with multiprocessing.Pool(5) as p:
        t1 = time.time()
        results = p.imap(calc_cubes, calls, chunksize=25)
        result = list(with_progress(results, len(calls)))
        parallel = time.time() - t1
    print(f"Parallel Processing Time Taken: {parallel:.4f} s", flush=True)
    print(f"{len(result)} calls, sum of all cubes {sum(result)}", flush=True)

    fifth = calls[:len(calls) // 5]
    print(f"on {multiprocessing.cpu_count()} processors, "
          "a fifth of the calls:", flush=True)
    for workers in (1, 2, 3, 4, 5):
        with multiprocessing.Pool(workers) as p:
            begin = time.time()
            p.map(calc_cubes, fifth)
            taken = time.time() - begin
        print(f"{workers} workers: {taken:.4f} s, "
              f"speed-up {serial / 5 / taken:.2f}", flush=True)
