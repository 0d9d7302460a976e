"""python-dynamodb-lock, told what to do line by line."""

import datetime
import logging
import sys

import boto3
from python_dynamodb_lock.python_dynamodb_lock import DynamoDBLockClient, DynamoDBLockError

endpoint, table, lease = sys.argv[1], sys.argv[2], float(sys.argv[3])


def seconds(number):
    return datetime.timedelta(seconds=number)


server = boto3.resource(
    "dynamodb",
    endpoint_url=endpoint,
    region_name="us-east-1",
    aws_access_key_id="key",
    aws_secret_access_key="secret",
)
client = DynamoDBLockClient(
    server, table_name=table, lease_duration=seconds(lease), heartbeat_period=seconds(lease / 5), safe_period=seconds(lease)
)
locks = {}
# It says of every lock that was released that its lease has expired.
logging.disable(logging.WARNING)


def acquire(name, patience):
    return client.acquire_lock(name, retry_period=seconds(0.02), retry_timeout=seconds(patience))


for line in sys.stdin:
    word, name, *rest = line.split()
    if word == "try":
        try:
            # Zero would mean its default.
            locks[name] = acquire(name, 0.001)
            print("held", flush=True)
        except DynamoDBLockError as error:
            assert error.code == DynamoDBLockError.ACQUIRE_TIMEOUT, error
            print("busy", flush=True)
    elif word == "lock":
        locks[name] = acquire(name, 3600)
        print("held", flush=True)
    elif word == "release":
        try:
            locks.pop(name).release(best_effort=False)
            print("released", flush=True)
        except DynamoDBLockError as error:
            assert error.code == DynamoDBLockError.LOCK_STOLEN, error
            print("stolen", flush=True)
    elif word == "increment":
        path, turns = rest[0], int(rest[1])
        for _ in range(turns):
            lock = acquire(name, 3600)
            with open(path) as file:
                number = int(file.read())
            with open(path, "w") as file:
                file.write(str(number + 1))
            lock.release(best_effort=False)
        print("done", flush=True)
