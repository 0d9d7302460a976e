//! The suite as a test of the workspace: the embedded engines, real servers of every kind, and most of them in chaos.

fn main() -> std::process::ExitCode {
    leasehold_behavior::main(&[
        "memory:",
        "memory:+chaos=1",
        "quorum:5",
        "sqlite:temp",
        "redis:temp",
        "redis:temp+chaos=1",
        "mysql:temp",
        "mysql:temp+chaos=1",
        "mysql+getlock:temp",
        "mysql+getlock:temp+chaos=1",
        "postgres:temp",
        "postgres:temp+chaos=1",
        "postgres+advisory:temp",
        "postgres+advisory:temp+chaos=1",
        "redlock:temp",
        "redlock:temp+chaos=1",
        "redis+sentinel:temp",
        "redis+sentinel:temp+chaos=1",
        "redis+cluster:temp",
        "redis+cluster:temp+chaos=1",
        // Not in chaos: TTLs are a second there, of which a holder may count on 350 ms at ZooKeeper; a busy machine needs more.
        "zookeeper:temp",
        "consul:temp",
        "consul:temp+chaos=1",
        "consul+cluster:temp",
        // Nor this: the stand-in has one thread, and what chaos asks for twice takes longer than a TTL.
        "dynamodb:temp",
        "etcd:temp",
        "etcd:temp+chaos=1",
        "etcd+cluster:temp",
        "etcd+cluster:temp+chaos=1",
    ])
}
