"""Why do two processes that count up and down not end where they began?"""
from multiprocessing import Barrier, Process, Value

ROUNDS = 10_001


def add(val, both_have_read):
    for _ in range(ROUNDS):
        seen = val.value
        both_have_read.wait()
        val.value = seen + 1


def subtract(val, both_have_read):
    for _ in range(ROUNDS):
        seen = val.value
        both_have_read.wait()
        val.value = seen - 1


if __name__ == "__main__":
    val = Value("i", 1)
    both_have_read = Barrier(2)
    p1 = Process(target=add, args=(val, both_have_read))
    p2 = Process(target=subtract, args=(val, both_have_read))
    p1.start()
    p2.start()
    p1.join()
    p2.join()

    print(f"Value is {val.value}", flush=True)
    print("no update was lost" if val.value == 1 else "updates were lost",
          flush=True)
