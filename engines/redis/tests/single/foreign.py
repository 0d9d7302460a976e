"""redis-py's Lock, told what to do line by line: the client that most people have."""

import sys

import redis

server = redis.Redis.from_url(sys.argv[1])
locks = {}

for line in sys.stdin:
    word, name, *rest = line.split()
    if word == "try":
        lock = server.lock(name, timeout=float(rest[0]) if rest else None)
        if lock.acquire(blocking=False):
            locks[name] = lock
            print("held", flush=True)
        else:
            print("busy", flush=True)
    elif word == "lock":
        locks[name] = server.lock(name, timeout=3600)
        locks[name].acquire()
        print("held", flush=True)
    elif word == "release":
        try:
            locks.pop(name).release()
            print("released", flush=True)
        except redis.exceptions.LockNotOwnedError:
            print("not owned", flush=True)
    elif word == "increment":
        path, turns = rest[0], int(rest[1])
        for _ in range(turns):
            with server.lock(name, timeout=3600):
                with open(path) as file:
                    number = int(file.read())
                with open(path, "w") as file:
                    file.write(str(number + 1))
            print("turn", flush=True)
        print("done", flush=True)
