"""What crosses from one process to another, and what cannot?

Here a class needs no line of its own, and what cannot cross is known when it
is tried. Each language has its own words for that.
"""
import dataclasses
import multiprocessing as mp
import pickle


@dataclasses.dataclass
class Order:
    item: str
    price: float | None
    notes: list


class Account:
    def __init__(self, balance):
        self._balance = balance

    def balance(self):
        return self._balance


def twice(n):
    return 2 * n


def worker(number, ages, order, account, function):
    print(f"number: {number}", flush=True)
    print(f"container: eve is {ages['eve']}", flush=True)
    print(f"struct: {order.item}, {order.price}, {order.notes[1]}", flush=True)
    print(f"class: {account.balance()}", flush=True)
    print(f"function: {function(21)}", flush=True)


def start_lambda(method):
    here = 1
    p = mp.get_context(method).Process(
        target=lambda: print(f"lambda: here is {here}", flush=True))
    try:
        p.start()
        p.join()
    except (pickle.PicklingError, AttributeError) as error:
        print(f"PicklingError: {error}", flush=True)


if __name__ == "__main__":
    order = Order("tea", 3.5, ["hot", "no milk"])
    p = mp.get_context("spawn").Process(
        target=worker,
        args=(7, {"bob": 41, "eve": 42}, order, Account(100), twice))
    p.start()
    p.join()

    start_lambda("fork")
    start_lambda("spawn")

    data = pickle.dumps(order)
    try:
        pickle.loads(data[:len(data) // 2])
    except pickle.UnpicklingError as error:
        print(f"half of its bytes: {error}", flush=True)
