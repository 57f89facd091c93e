"""What is a process called, and who counts?"""
from multiprocessing import Process, current_process


def doubler(number):
    result = number * 2
    proc_name = current_process().name
    print(f"{number} doubled to {result} by: {proc_name}", flush=True)


if __name__ == "__main__":
    unused = Process(target=doubler, args=(5,))

    numbers = [5, 10, 15, 20, 25]
    procs = []
    for number in numbers:
        proc = Process(target=doubler, args=(number,))
        procs.append(proc)
        proc.start()

    test = Process(target=doubler, name="Test", args=(2,))
    test.start()
    procs.append(test)

    for proc in procs:
        proc.join()
    print(f"started by: {current_process().name}", flush=True)
