"""redis-py's Lock."""

import redis

client = redis.Redis(**json.loads(server))
client.ping()


def lock_of(name):
    # Each thread has a connection of its own.
    client.ping()
    return redis.lock.Lock(client, name, timeout=ttl)


run(lock_of)
