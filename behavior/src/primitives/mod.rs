//! What users rely on: the locks, through a client, between tasks and between processes.

mod cancel;
pub(crate) mod counter;
mod ending;
mod exclusion;
mod names;
mod order;
mod processes;
mod sharing;
mod terms;

use crate::test::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        exclusion::tests(),
        sharing::tests(),
        order::tests(),
        names::tests(),
        terms::tests(),
        ending::tests(),
        cancel::tests(),
        processes::tests(),
    ]
    .concat()
}
