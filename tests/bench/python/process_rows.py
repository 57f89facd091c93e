import multiprocessing as mp
import time

GIB = 1 << 30
memory = None


def nothing():
    pass


def start_and_join(method):
    context = mp.get_context(method)

    def run(count):
        def once():
            process = context.Process(target=nothing)
            process.start()
            process.join()

        if method == "forkserver":
            once()
        start = time.perf_counter_ns()
        for _ in range(count):
            once()
        return (time.perf_counter_ns() - start) / count

    return run


def in_big_process(run):
    def big(count):
        global memory
        if memory is None:
            memory = b"\1" * GIB
        return run(count)

    return big


ROWS = {
    "process.fork": start_and_join("fork"),
    "process.spawn": start_and_join("spawn"),
    "process.spawn_1GiB": in_big_process(start_and_join("spawn")),
    "process.forkserver": start_and_join("forkserver"),
}
