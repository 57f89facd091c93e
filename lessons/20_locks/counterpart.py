"""What keeps two processes from writing into one another's lines?"""
import contextlib
import multiprocessing
import sys
import threading


def write_in_two(stream, end, halfway):
    stream.write("Lock acquired ")
    stream.flush()
    try:
        halfway.wait()
    except threading.BrokenBarrierError:
        pass  # The other one did not come: it is kept out.
    stream.write(end + "\n")
    stream.flush()


def worker_with(lock, stream, halfway):
    with lock:
        write_in_two(stream, "via with", halfway)


def worker_no_with(lock, stream, halfway):
    lock.acquire()
    try:
        write_in_two(stream, "directly", halfway)
    finally:
        lock.release()


def run_both(lock, halfway):
    w = multiprocessing.Process(
        target=worker_with, args=(lock, sys.stdout, halfway))
    nw = multiprocessing.Process(
        target=worker_no_with, args=(lock, sys.stdout, halfway))
    w.start()
    nw.start()
    w.join()
    nw.join()


class NoLock(contextlib.nullcontext):
    def acquire(self):
        pass

    def release(self):
        pass


if __name__ == "__main__":
    print("without a lock:", flush=True)
    run_both(NoLock(), multiprocessing.Barrier(2))

    print("with a lock:", flush=True)
    run_both(multiprocessing.Lock(), multiprocessing.Barrier(2, timeout=0.1))
