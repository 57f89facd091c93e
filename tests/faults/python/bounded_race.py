"""Two processes release a bounded semaphore at the same time. Does the bound hold?"""
import multiprocessing as mp
import os
import time


def release_on_and_on(semaphore):
    while True:
        try:
            semaphore.release()
        except ValueError:
            pass


semaphore = mp.BoundedSemaphore(1)
p = mp.Process(target=release_on_and_on, args=(semaphore,))
p.start()
end = time.monotonic() + 30
most = 1
while most == 1 and time.monotonic() < end:
    semaphore.acquire()
    try:
        semaphore.release()
    except ValueError:
        pass
    most = max(most, semaphore.get_value())
print("a semaphore of at most 1 has the value", most, flush=True)
p.kill()
os._exit(0)
