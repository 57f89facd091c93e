"""A callback takes as long as many tasks are being submitted. Does submitting end?"""
import concurrent.futures
import os
import threading

if __name__ == "__main__":
    executor = concurrent.futures.ProcessPoolExecutor(1)
    calling_back = threading.Event()
    over = threading.Event()

    def callback(_):
        calling_back.set()
        over.wait()

    def submit_many():
        for _ in range(100_000):
            executor.submit(abs, -1)
        over.set()

    executor.submit(abs, -1).add_done_callback(callback)
    calling_back.wait()
    threading.Thread(target=submit_many, daemon=True).start()
    over.wait(30)
    print("during a callback,",
          "all are submitted" if over.is_set() else "submit() waits for its end", flush=True)
    os._exit(0)
