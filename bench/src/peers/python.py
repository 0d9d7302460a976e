"""The pair and the hand-over: one process, a thread for each task.

Says "ready" when all threads are, waits for a line, works, and ends with a line of JSON. Ends at once when its input does.
Whoever calls `run` has the server in `server`, and what all names are to begin with in `prefix`.
"""

import json
import os
import sys
import threading
import time
import traceback

case, prefix, tasks, span, hold, ttl = sys.argv[1:]
tasks, span, hold, ttl = int(tasks), int(span), int(hold) / 1e9, int(ttl) / 1e9
server = os.environ["LEASEHOLD_BENCH_SERVER"]
start = threading.Barrier(tasks + 1)
now = time.monotonic_ns


class Room:
    """What the lock protects: counts how often the holder changes, and notices when two are inside."""

    def __init__(self):
        self.inside = self.last = None
        self.hand_overs = 0

    def enter(self, task, counts):
        if self.inside is not None:
            raise RuntimeError(f"tasks {self.inside} and {task} held the lock at once: the lock is broken")
        self.inside = task
        if counts and self.last not in (None, task):
            self.hand_overs += 1
        self.last = task

    def leave(self):
        self.inside = None


room = Room()
held = [0] * tasks
waits = [[] for _ in range(tasks)]


def work(task, lock_of):
    lock = lock_of(f"{prefix}/pair/{task}" if case == "pair" else f"{prefix}/handoff")
    start.wait()
    end = began + span
    while True:
        asked = now()
        if asked >= end:
            return
        lock.acquire()
        got = now()
        waits[task].append(got - asked)
        counts = case == "pair" or got < end
        held[task] += counts
        if case != "pair":
            room.enter(task, counts)
        if hold:
            time.sleep(hold)
        if case != "pair":
            room.leave()
        lock.release()


def guarded(task, lock_of):
    try:
        work(task, lock_of)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def end_with_parent():
    sys.stdin.readline()
    os._exit(1)


def run(lock_of, end=lambda: None):
    """Works with what `lock_of` makes of a name, called in each thread; `end` cleans up."""
    global began
    threads = [threading.Thread(target=guarded, args=(task, lock_of)) for task in range(tasks)]
    for thread in threads:
        thread.start()
    while start.n_waiting < tasks:
        time.sleep(0.001)
    print("ready", flush=True)
    sys.stdin.readline()
    threading.Thread(target=end_with_parent, daemon=True).start()
    began = now()
    start.wait()
    for thread in threads:
        while thread.is_alive():
            thread.join(10)
            print("busy", flush=True)
    took = now() - began if case == "pair" else span
    count = sum(held) if case == "pair" else room.hand_overs
    end()
    report = {"rate_per_s": count / took * 1e9, "held": held, "waits": [wait for each in waits for wait in each]}
    print(json.dumps(report), flush=True)
