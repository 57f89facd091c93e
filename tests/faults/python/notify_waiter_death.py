"""A process is killed while it sleeps at a condition. Does notify() return?"""
import multiprocessing as mp
import os
import time


def sleep(cond):
    with cond:
        cond.wait()


def notify(cond):
    with cond:
        cond.notify_all()


cond = mp.Condition()
sleeper = mp.Process(target=sleep, args=(cond,))
sleeper.start()
while cond._sleeping_count._semlock._is_zero():
    time.sleep(0.01)
with cond:  # The sleeper has let go of the lock: it sleeps.
    sleeper.kill()
    sleeper.join()
waker = mp.Process(target=notify, args=(cond,))
waker.start()
waker.join(timeout=2)
print("notify_all()", "does not return" if waker.is_alive() else "returns", flush=True)
waker.kill()
os._exit(0)
