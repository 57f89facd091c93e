"""What does a pool of processes do, and what does it buy?"""
import concurrent.futures
import multiprocessing
import os
import pickle
from time import time


def gcd(pair):
    a, b = pair
    low = min(a, b)
    for i in range(low, 0, -1):
        if a % i == 0 and b % i == 0:
            return i


numbers = [(1963309, 2265973), (2030677, 3814172),
           (1551645, 2229620), (2039045, 2020802)]


def took(who, run):
    start = time()
    results = run()
    end = time()
    print(f"{who}: {results}", flush=True)
    print(f"Took {(end - start):.3f} seconds.", flush=True)


def in_serial():
    return list(map(gcd, numbers))


def with_executor(executor):
    with executor(max_workers=2) as pool:
        return list(pool.map(gcd, numbers))


def worker(conn):
    function = pickle.loads(conn.recv_bytes())
    pair = pickle.loads(conn.recv_bytes())
    print(f"4. it is {pair} again, in process {os.getpid()}", flush=True)
    print("5. gcd is found in the child's own program:",
          "yes" if function is gcd else "no", flush=True)
    result = function(pair)
    print(f"6. gcd gives {result}", flush=True)
    data = pickle.dumps(result)
    print(f"7. the result is {len(data)} bytes", flush=True)
    conn.send_bytes(data)


def ten_steps():
    here, there = multiprocessing.Pipe()
    child = multiprocessing.Process(target=worker, args=(there,))
    child.start()

    item = numbers[0]
    print(f"1. an item is taken: {item}, in process {os.getpid()}", flush=True)
    data = pickle.dumps(item)
    print(f"2. it is pickled: {len(data)} bytes", flush=True)
    print("3. the bytes go to the child", flush=True)
    here.send_bytes(pickle.dumps(gcd))
    here.send_bytes(data)

    answer = here.recv_bytes()
    print(f"8. {len(answer)} bytes are back", flush=True)
    result = pickle.loads(answer)
    print(f"9. they are {result} again", flush=True)
    print(f"10. and go into the list: {[result]}", flush=True)
    child.join()


def crash(_):
    os.abort()


def isolation():
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        try:
            pool.submit(crash, 0).result()
        except concurrent.futures.process.BrokenProcessPool:
            print("a worker has crashed: BrokenProcessPool; main goes on",
                  flush=True)


if __name__ == "__main__":
    took("serial", in_serial)
    futures = concurrent.futures
    took("threads", lambda: with_executor(futures.ThreadPoolExecutor))
    took("processes", lambda: with_executor(futures.ProcessPoolExecutor))
    ten_steps()
    isolation()
