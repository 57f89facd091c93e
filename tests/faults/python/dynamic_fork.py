"""An executor of ten forked workers has one task. How many are started for it?"""
import concurrent.futures
import multiprocessing as mp

if __name__ == "__main__":
    with concurrent.futures.ProcessPoolExecutor(10, mp_context=mp.get_context("fork")) as executor:
        executor.submit(abs, -1).result()
        print(f"for one task {len(mp.active_children())} workers are forked", flush=True)
