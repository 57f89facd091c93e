import concurrent.futures
import itertools
import math
import multiprocessing as mp
import time

WORKERS = 2
MIB = 1 << 20
OUTSTANDING = 10_000
CANDIDATES = [112272535095293, 112582705942171, 112272535095293,
              115280095190773, 115797848077099, 1099726899285419]


def increment(number):
    return number + 1


def same_bytes(data):
    return data


def cubes(_):
    return sum([number ** 3 for number in range(1000)])


def is_prime(number):
    if number < 2 or number % 2 == 0:
        return number == 2
    return all(number % divisor for divisor in range(3, math.isqrt(number) + 1, 2))


def work_for(microseconds):
    end = time.perf_counter_ns() + 1000 * microseconds
    while time.perf_counter_ns() < end:
        pass
    return microseconds


def timed(count, work):
    start = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - start) / count


def in_pool(work):
    """work(pool, count), timed with the workers there."""

    def run(count):
        with mp.Pool(WORKERS) as pool:
            pool.map(increment, range(WORKERS))
            return timed(count, lambda: work(pool, count))

    return run


def in_executor(work):
    def run(count):
        with concurrent.futures.ProcessPoolExecutor(WORKERS) as executor:
            list(executor.map(increment, range(WORKERS)))
            return timed(count, lambda: work(executor, count))

    return run


def apply(pool, count):
    for _ in range(count):
        pool.apply(increment, (1,))


def consume(results):
    for _ in results:
        pass


def start(count):
    def work():
        for _ in range(count):
            with mp.Pool(WORKERS):
                pass

    return timed(count, work)


def uneven_tasks():
    tasks = [100] * 1000
    for at in (200, 450, 700, 950):
        tasks[at] = 10_000
    return tasks


def submit(executor, count):
    for _ in range(count):
        executor.submit(increment, 1).result()


def submit_10k(count):
    rounds = count // OUTSTANDING + 1

    def work(executor, _):
        for _ in range(rounds):
            futures = [executor.submit(increment, 1) for _ in range(OUTSTANDING)]
            for future in futures:
                future.result()

    return in_executor(work)(rounds * OUTSTANDING)


ROWS = {
    "pool.map": in_pool(lambda pool, count: pool.map(increment, range(count))),
    "pool.map_chunk1": in_pool(
        lambda pool, count: pool.map(increment, range(count), chunksize=1)),
    "pool.apply": in_pool(apply),
    "pool.imap_unordered": in_pool(
        lambda pool, count: consume(pool.imap_unordered(increment, range(count)))),
    "pool.bytes": in_pool(lambda pool, count: consume(
        pool.imap_unordered(same_bytes, itertools.repeat(bytes(MIB), count)))),
    "pool.cpu": in_pool(lambda pool, count: pool.map(cubes, range(count))),
    "pool.cpu_primes": in_pool(lambda pool, count: pool.map(is_prime, CANDIDATES)),
    "pool.start": start,
    "pool.tail": in_pool(lambda pool, count: [
        pool.map(work_for, uneven_tasks()) for _ in range(count)]),
    "executor.submit": in_executor(submit),
    "executor.submit_10k": submit_10k,
    "executor.map": in_executor(
        lambda executor, count: consume(executor.map(increment, range(count)))),
}
