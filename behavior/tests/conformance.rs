//! The suite as a test of the workspace: the embedded engines, one Redis, and some of them in chaos.

fn main() -> std::process::ExitCode {
    leasehold_behavior::main(&[
        "memory:",
        "memory:+chaos=1",
        "quorum:5",
        "sqlite:temp",
        "redis:temp",
        "redis:temp+chaos=1",
    ])
}
