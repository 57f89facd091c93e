"""A signal handler sets an event that the same thread is looking at. Does that end?"""
import multiprocessing as mp
import os
import signal


def child(event, beat):
    signal.signal(signal.SIGALRM, lambda *_: event.set())
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    while True:
        event.is_set()
        beat.send("")


here, there = mp.Pipe(duplex=False)
p = mp.Process(target=child, args=(mp.Event(), there))
p.start()
for _ in range(100000):
    if not here.poll(3):
        print("set() in a handler: is_set() does not return", flush=True)
        break
    here.recv()
else:
    print("set() in a handler: is_set() returns", flush=True)
p.kill()
os._exit(0)
