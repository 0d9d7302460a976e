//! Test programs that are their own other processes. libtest reads the arguments itself and talks on stdout, so such a
//! program goes without it: `harness = false` in `Cargo.toml`, and [`main`] in place of it.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// The first argument of another process.
const ANOTHER: &str = "another-process";

/// Runs the tests, or what [`Worker::another`](crate::Worker::another) has started this program for: given its
/// arguments.
pub fn main(another: impl FnOnce(&[String]), tests: Vec<Trial>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = &arguments[..]
        && first == ANOTHER
    {
        another(rest);
        return ExitCode::SUCCESS;
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

impl crate::Worker {
    /// Starts this test program as another process.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn another<'a>(arguments: impl IntoIterator<Item = &'a str>) -> std::io::Result<Self> {
        Self::reexec(std::iter::once(ANOTHER).chain(arguments))
    }
}

/// An `async` test with a runtime of its own.
pub fn trial<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    })
}

/// The tests of these names. A test that is forgotten here is dead code, which the lints refuse.
#[macro_export]
macro_rules! trials {
    ($($test:ident),+ $(,)?) => {
        vec![$($crate::trial::trial(stringify!($test), $test)),+]
    };
}
