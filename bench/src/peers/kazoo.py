"""kazoo's Lock. Its nodes' parents do not go away by themselves."""

from kazoo.client import KazooClient

client = KazooClient(server, timeout=ttl)
client.start()
run(lambda name: client.Lock(name), end=lambda: client.delete(prefix, recursive=True))
client.stop()
