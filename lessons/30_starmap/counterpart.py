"""What if the function takes more than one argument?"""
import os
from multiprocessing import Pool


def calc_product(num1, num2, num3):
    numbers = num1, num2, num3
    print(f"Process {os.getpid()} calculating product of {numbers}", flush=True)
    return num1 * num2 * num3


def exec_func(nums):
    return calc_product(*nums)


if __name__ == "__main__":
    items = [(1, 2, 3), (3, 4, 5)]

    with Pool(4) as p:
        result = p.map(exec_func, items)
        print(f"Result is: {result}", flush=True)

    with Pool(2) as p:
        result = p.starmap(calc_product, items)
        print(f"Result is: {result}", flush=True)
