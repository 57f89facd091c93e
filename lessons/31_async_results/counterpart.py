"""How do I go on working while a pool works for me?"""
import multiprocessing


def doubler(number):
    return number * 2


def multiply(x, y):
    return x * y


def square(x):
    return x * x


def set_gate(event):
    global gate
    gate = event


def behind_the_gate(number):
    gate.wait()
    return number


def too_small(number):
    raise ValueError(f"{number} is too small")


def yes_or_no(answer):
    return "yes" if answer else "no"


if __name__ == "__main__":
    event = multiprocessing.Event()
    with multiprocessing.Pool(2, set_gate, (event,)) as pool:
        result = pool.apply_async(doubler, (25,))
        print(result.get(timeout=10), flush=True)
        print(pool.apply(multiply, (7, 7)), flush=True)
        print(pool.apply_async(multiply, (7, 7)).get(), flush=True)
        print(pool.map_async(square, [0, 1, 2, 3]).get(), flush=True)

        late = pool.apply_async(behind_the_gate, (42,))
        try:
            late.get(timeout=0.1)
        except multiprocessing.TimeoutError:
            print("not there within 0.1 s: TimeoutError", flush=True)
        print("ready:", yes_or_no(late.ready()), flush=True)

        event.set()
        late.wait()
        print("ready:", yes_or_no(late.ready()), flush=True)
        print("successful:", yes_or_no(late.successful()), flush=True)
        print(late.get(), flush=True)

        failed = pool.apply_async(too_small, (3,))
        failed.wait()
        print("successful:", yes_or_no(failed.successful()), flush=True)
        try:
            failed.get()
        except ValueError as e:
            print("ValueError:", e, flush=True)
