"""A managed object is given up, another one made. Can their names be told apart?"""
import multiprocessing as mp
import os

manager = mp.Manager()
names = set()
again = False
for _ in range(100):
    name = manager.list()._token.id
    again = again or name in names
    names.add(name)
print("a new object", "gets the name of an old one" if again else "gets a name of its own",
      flush=True)
os._exit(0)
