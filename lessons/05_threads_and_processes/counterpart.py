"""What does a process keep to itself that a thread shares?"""
import multiprocessing
import os
import signal
import threading

times_done = 0


def do_some_work(val):
    global times_done
    print(f"doing some work in thread {threading.get_native_id()} "
          f"of process {os.getpid()}", flush=True)
    print(f"echo: {val}", flush=True)
    times_done += 1
    print(f"counted here: {times_done}", flush=True)


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


if __name__ == "__main__":
    val = "text"
    print(f"main is process {os.getpid()}", flush=True)

    thread = threading.Thread(target=do_some_work, args=(val,))
    thread.start()
    thread.join()
    print(f"after the thread: times_done = {times_done}", flush=True)

    process = multiprocessing.Process(target=do_some_work, args=(val,))
    process.start()
    process.join()
    print(f"after the process: times_done = {times_done}", flush=True)

    crashing = multiprocessing.Process(target=crash)
    crashing.start()
    crashing.join()
    print(f"after the crash: exitcode = {crashing.exitcode}", flush=True)
