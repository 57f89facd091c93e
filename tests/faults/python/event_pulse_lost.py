"""A process waits for an event that is set and cleared again. What does wait() say?"""
import multiprocessing as mp
import time


def child(event, answer):
    answer.send(event.wait(30))


answers = set()
for _ in range(50):
    event = mp.Event()
    here, there = mp.Pipe()
    p = mp.Process(target=child, args=(event, there))
    p.start()
    while event._cond._sleeping_count._semlock._is_zero():
        time.sleep(0.001)
    event.set()
    event.clear()
    answers.add(here.recv())
    p.join()
    if False in answers:
        break
print("a sleeper woken by set() and clear() is told", False if False in answers else True)
