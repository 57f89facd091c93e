"""A daemon ignores SIGTERM. Does the program come to its end?"""
import subprocess
import sys

PROGRAM = """
import multiprocessing as mp, signal, time
def stay(ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.send("")
    time.sleep(60)
here, there = mp.Pipe()
mp.Process(target=stay, args=(there,), daemon=True).start()
here.recv()
print("last line", flush=True)
"""
program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)
program.stdout.readline()
try:
    program.wait(timeout=2)
    print("the program ends after its last line")
except subprocess.TimeoutExpired:
    print("the program is still there 2 s after its last line")
    program.kill()
