"""Programs that leave work to an executor, shut it down without waiting, and end. Do they?"""
import concurrent.futures
import multiprocessing as mp
import subprocess
import sys
import time

if __name__ == "__main__":
    if sys.argv[1:]:
        executor = concurrent.futures.ProcessPoolExecutor(3, mp_context=mp.get_context(sys.argv[1]))
        futures = [executor.submit(time.sleep, 0.1) for _ in range(4)]
        executor.shutdown(wait=False)
    else:
        programs = [subprocess.Popen([sys.executable, __file__, method])
                    for method in ["fork", "forkserver", "spawn"] for _ in range(4)]
        end = time.monotonic() + 30
        while time.monotonic() < end and any(program.poll() is None for program in programs):
            time.sleep(0.1)
        ended = sum(program.poll() is not None for program in programs)
        print(f"{ended} of {len(programs)} programs end", flush=True)
