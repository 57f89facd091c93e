"""Two processes, or more, that do something together: as partner.hpp."""
import multiprocessing as mp
import time


def _after_start(line, body):
    line.wait()
    body()


def time_pair(operations, theirs, ours):
    line = mp.Barrier(2)
    partner = mp.Process(target=_after_start, args=(line, theirs), daemon=True)
    partner.start()
    line.wait()
    start = time.perf_counter_ns()
    ours()
    ns = (time.perf_counter_ns() - start) / operations
    partner.join()
    if partner.exitcode != 0:
        raise RuntimeError("a child has failed")
    return ns
