"""How is a list of work divided among a few processes?"""
import multiprocessing
import os
import time


def do_calculation(data):
    return data * 2


def start_process():
    print("Starting", multiprocessing.current_process().name, flush=True)


def compute_squares(num):
    print(f"Process {os.getpid()} calculating square of {num}", flush=True)
    time.sleep(0.02)
    return num * num


if __name__ == "__main__":
    inputs = list(range(10))
    print("Input   :", inputs, flush=True)

    builtin_outputs = list(map(do_calculation, inputs))
    print("Built-in:", builtin_outputs, flush=True)

    pool_size = multiprocessing.cpu_count()
    with multiprocessing.Pool(pool_size, initializer=start_process) as pool:
        pool_outputs = pool.map(do_calculation, inputs)
        pool.close()
        pool.join()
    print("Pool    :", pool_outputs, flush=True)

    with multiprocessing.Pool(4) as p:
        result = p.map(compute_squares, range(12), 1)
    print(f"Result is: {result}", flush=True)
