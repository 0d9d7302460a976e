"""kazoo's locks, by lines on standard input: SERVERS PATH. "acquire KIND" and "release KIND" with KIND one of mutex, read
and write; "count FILE N" adds one to the number in a file, N times, under the mutex. Each is answered by a line."""

import sys

from kazoo.client import KazooClient

servers, path = sys.argv[1:]
client = KazooClient(servers)
client.start()
# What leasehold and Curator put there. A reader does not wait for readers.
whole, readers = ["-lock-", "__WRIT__"], ["__READ__"]
locks = {
    "mutex": client.Lock(path, extra_lock_patterns=whole + readers),
    "read": client.ReadLock(path, extra_lock_patterns=whole),
    "write": client.WriteLock(path, extra_lock_patterns=whole + readers),
}
print("ready", flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "count":
        for _ in range(int(words[2])):
            with locks["mutex"]:
                with open(words[1]) as file:
                    count = int(file.read())
                with open(words[1], "w") as file:
                    file.write(str(count + 1))
        print("counted", flush=True)
    elif words[0] == "acquire":
        locks[words[1]].acquire()
        print("acquired", words[1], flush=True)
    else:
        locks[words[1]].release()
        print("released", words[1], flush=True)
client.stop()
