"""How can one see what the library itself does?

Python up to 3.12 logs a child's exit code after "process shutting down";
3.13 and C++ log it before.
"""
import logging
import multiprocessing


def worker():
    print("Doing some work", flush=True)


def counter():
    logger = multiprocessing.get_logger()
    for i in range(1, 11):
        logger.warning("counting to %d of 10", i)


if __name__ == "__main__":
    multiprocessing.log_to_stderr(logging.DEBUG)
    p = multiprocessing.Process(target=worker)
    p.start()
    p.join()

    logger = multiprocessing.get_logger()
    logger.setLevel(logging.INFO)
    q = multiprocessing.Process(target=worker)
    q.start()
    q.join()

    logger.setLevel(logging.WARNING)
    counters = []
    for i in range(4):
        counters.append(multiprocessing.Process(target=counter))
        counters[-1].start()
    for c in counters:
        c.join()

    logger.setLevel(logging.DEBUG)
