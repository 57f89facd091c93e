"""Two processes add one to the same value, 100000 times each. What is the sum?"""
import multiprocessing as mp


def add(value, begin):
    begin.wait()
    for _ in range(100000):
        value.value += 1


value = mp.Value("i", 0)
begin = mp.Barrier(2)
adders = [mp.Process(target=add, args=(value, begin)) for _ in range(2)]
for p in adders:
    p.start()
for p in adders:
    p.join()
print("of 200000 additions,", "some are lost" if value.value < 200000 else "none is lost")
