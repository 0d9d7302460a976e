//! A test for every line and clause of the contract (the module docs of `leasehold::engine`), through the trait
//! itself, each with the broken engines that it must catch.

mod batches;
mod deadlines;
mod hints;
mod leaving;
mod looking;
mod raising;
mod renewal;
mod tokens;

use crate::test::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        renewal::tests(),
        batches::tests(),
        leaving::tests(),
        deadlines::tests(),
        hints::tests(),
        tokens::tests(),
        raising::tests(),
        looking::tests(),
    ]
    .concat()
}
