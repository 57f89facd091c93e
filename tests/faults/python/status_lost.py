"""The fork server is killed. What exit code does a child have that ends with 3 later?"""
import multiprocessing as mp
import multiprocessing.forkserver
import os
import signal
import sys


def child(ready, go_on):
    ready.send("")
    go_on.recv()
    sys.exit(3)


if __name__ == "__main__":
    ctx = mp.get_context("forkserver")
    here, there = ctx.Pipe()
    p = ctx.Process(target=child, args=(there, there))
    p.start()
    here.recv()
    os.kill(mp.forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    here.send("")
    p.join()
    print(f"the child ended with 3, exitcode is {p.exitcode}")
