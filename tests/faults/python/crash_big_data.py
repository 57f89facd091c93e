"""A worker is killed while an argument of 50 MB is on its way to it. Does its future wait on?"""
import concurrent.futures
import os
import signal

if __name__ == "__main__":
    executor = concurrent.futures.ProcessPoolExecutor(1)
    worker = executor.submit(os.getpid).result()
    os.kill(worker, signal.SIGSTOP)
    future = executor.submit(len, bytes(50_000_000))
    while not executor._call_queue._reader.poll():
        pass  # The pipe takes 64 KiB, then the thread that writes waits.
    os.kill(worker, signal.SIGKILL)
    try:
        future.result(timeout=10)
        print("it has a result", flush=True)
    except concurrent.futures.TimeoutError:
        print("10 s later the future still waits", flush=True)
    except concurrent.futures.BrokenExecutor:
        print("the executor is broken, the future fails: nothing waits", flush=True)
    os._exit(0)
