"""How does a child come into being, and what does it bring along?"""
import multiprocessing as mp
import os
import time

msg = "Init"
OUR_FILE = 100


def worker(argument):
    try:
        os.fstat(OUR_FILE)
        has_file = "yes"
    except OSError:
        has_file = "no"
    print(f"msg = {msg}, file open: {has_file}, argument = {argument}",
          flush=True)


def nothing():
    pass


def cost(ctx):
    attempts = []
    for i in range(5):
        begin = time.perf_counter()
        proc = ctx.Process(target=nothing)
        proc.start()
        proc.join()
        attempts.append((time.perf_counter() - begin) * 1000)
    return sorted(attempts)[2]


if __name__ == "__main__":
    msg = "Main"
    os.dup2(os.open("/dev/null", os.O_RDONLY), OUR_FILE)

    for method in mp.get_all_start_methods():
        print(f"{method}:", flush=True)
        ctx = mp.get_context(method)
        proc = ctx.Process(target=worker, args=(msg,))
        proc.start()
        proc.join()
        print(f"start and join took {cost(ctx):.2f} ms", flush=True)
