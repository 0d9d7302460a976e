//! Random requests, answered by the engine as the ledger answers them.

use leasehold_testkit::ledger::compare;
use leasehold_testkit::redis::Redis as Server;

use crate::world::open;

#[tokio::test]
async fn random_requests_are_answered_as_the_ledger_answers_them() {
    let server = Server::builder().fake_clock().start().unwrap();
    let url = server.url();
    compare(12, |ahead| server.shift_clock(ahead).unwrap(), async || open(&url).await).await;
}
