"""A ShareableList holds bytes that end in NULs. What comes out?"""
from multiprocessing import shared_memory

items = shared_memory.ShareableList([b"ab\0\0"])
print(r"of b'ab\x00\x00' remains", items[0])
items.shm.close()
items.shm.unlink()
