"""Eight threads use one proxy, which is said to be unsafe. Does each have its own answers?"""
import concurrent.futures
import multiprocessing as mp


def ask(thread):
    return all(proxy[thread] == thread for _ in range(500))


if __name__ == "__main__":
    with mp.Manager() as manager:
        proxy = manager.list(range(8))
        with concurrent.futures.ThreadPoolExecutor(8) as executor:
            right = sum(executor.map(ask, range(8)))
        print(f"{right} of 8 threads have their own answers", flush=True)
