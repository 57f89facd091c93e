"""Two threads send over the same end of a pipe. Do their messages stay whole?"""
import multiprocessing as mp
import os
import threading

here, there = mp.Pipe()


def send(letter):
    while True:
        there.send_bytes(letter * 1000000)


for letter in (b"a", b"b"):
    threading.Thread(target=send, args=(letter,), daemon=True).start()
mixed = False
try:
    for _ in range(200):
        mixed = mixed or len(set(here.recv_bytes(1000000))) > 1
        if mixed:
            break
except OSError:
    mixed = True
print("the messages of two senders", "are mixed up" if mixed else "stay whole", flush=True)
os._exit(0)
