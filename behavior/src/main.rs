//! The conformance suite as a program; see the library.

fn main() -> std::process::ExitCode {
    leasehold_behavior::main(&[])
}
