"""How do the workers of a pool fill one list?"""
from multiprocessing import Pool, Manager


def update_string(val, l):
    l.append(val)


if __name__ == "__main__":
    strs = ['with', 'great', 'power', 'comes', 'great', 'responsibilty']

    # Create the Manager object, and a list in its server.
    mgr = Manager()
    li = mgr.list()

    with Pool(4) as p:
        p.starmap(update_string, [(x, li) for x in strs])
    print(len(li), "strings")
    for s in li:
        print(f"List: {s}")
