"""How do two processes answer one another?"""
import random
from multiprocessing import Pipe, Process


def make_tuple(conn):
    num = random.randint(1, 9)
    print(f"make_tuple asks for 'Hi ' {num} times", flush=True)
    conn.send(("Hi ", num))
    print(conn.recv(), flush=True)


def make_string(conn):
    substr, num = conn.recv()
    result = ""
    for _ in range(num):
        result += substr
    conn.send(result)


if __name__ == "__main__":
    conn1, conn2 = Pipe(True)
    p1 = Process(target=make_tuple, args=(conn1,))
    p2 = Process(target=make_string, args=(conn2,))
    p1.start()
    p2.start()
