"""Who tells me that the work is done, or that it has failed?"""
import os
import tempfile
from multiprocessing import Pool


def count_chars(filename):
    with open(filename) as fin:
        return len(fin.read())


def success_callback(result):
    print("Get result", result, flush=True)


def error_callback(e):
    print("Throw exception", e, flush=True)


def main(filelist):
    with Pool(processes=2) as pool:
        print(pool.map(count_chars, filelist), flush=True)

        async_result = pool.map_async(count_chars, filelist)
        print("Do something else while the workers count", flush=True)
        print(async_result.get(), flush=True)

        told = pool.map_async(count_chars, filelist, callback=success_callback,
                              error_callback=error_callback)
        told.wait()

        missing = pool.map_async(count_chars, filelist + ["file5"],
                                 callback=success_callback,
                                 error_callback=error_callback)
        missing.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number, size in enumerate([10, 200, 3000, 40000], start=1):
            with open(f"file{number}", "w") as fout:
                fout.write("x" * size)
        main(["file1", "file2", "file3", "file4"])
        os.chdir("/")
