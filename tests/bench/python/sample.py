"""One figure of CPython for `compare`: sample.py ROW --budget-ms N [--count N].

Prints "NS CPU_NS [P99]" per operation, as compare does for its own samples.
"""
import argparse
import resource
import time

import lock_rows
import manager_rows
import pool_rows
import process_rows
import queue_rows

ROWS = {**process_rows.ROWS, **queue_rows.ROWS, **lock_rows.ROWS,
        **pool_rows.ROWS, **manager_rows.ROWS}


def cpu_ns_so_far():
    parts = [resource.getrusage(who)
             for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts) * 1e9


def run_once(run, count):
    """`run` does `count` operations; tells ns for one, or (ns, p99)."""
    before = cpu_ns_so_far()
    figure = run(count)
    cpu_ns = (cpu_ns_so_far() - before) / count
    ns, *p99 = figure if isinstance(figure, tuple) else (figure,)
    return ns, cpu_ns, *p99


def measure(run, budget_ns):
    """As measure() in sample.cpp."""
    count = 1
    sample = run_once(run, count)
    start = time.perf_counter_ns()
    while True:
        wanted = budget_ns / max(sample[0], 0.1)
        last = wanted < count * 100
        count = max(1, int(min(wanted, count * 100)))
        sample = run_once(run, count)
        if last and sample[0] * count > budget_ns / 2:
            return sample
        if time.perf_counter_ns() - start > 2 * budget_ns:
            return sample


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("row", choices=sorted(ROWS))
    parser.add_argument("--budget-ms", type=float, default=100)
    parser.add_argument("--count", type=int)
    options = parser.parse_args()
    run = ROWS[options.row]
    if options.count:
        sample = run_once(run, options.count)
    else:
        sample = measure(run, options.budget_ms * 1e6)
    print(*(f"{figure:.4f}" for figure in sample), flush=True)


if __name__ == "__main__":
    main()
