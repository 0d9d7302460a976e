//! The suite as a test of the workspace: the embedded engines, and one of them in chaos.

fn main() -> std::process::ExitCode {
    leasehold_behavior::main(&["memory:", "memory:+chaos=1", "sqlite:temp"])
}
