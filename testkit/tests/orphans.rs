//! A server ends with the test that started it, even if that is killed. The test is this program, run once more.

use std::io::Read;
use std::net::TcpStream;

use leasehold_testkit::redis::Redis;
use leasehold_testkit::{Worker, die_with_parent};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("be-killed") {
        return be_killed().await;
    }
    for paused in [false, true] {
        let mut test = Worker::reexec(["be-killed"]).unwrap();
        let mut connection = TcpStream::connect(test.line().await.unwrap()).unwrap();
        let folder = test.line().await.unwrap();
        if paused {
            test.say("pause").unwrap();
            assert_eq!(test.line().await.unwrap(), "paused");
        }
        test.kill().unwrap();
        // Returns when the server's end is closed, so when it is dead; a test that hangs here has found one alive.
        assert_eq!(connection.read(&mut [0]).unwrap_or(0), 0);
        // That is all it leaves behind.
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[expect(clippy::print_stdout, reason = "it is how a worker speaks")]
async fn be_killed() {
    let mut said = die_with_parent();
    // Started by a thread that ends at once: a server must not end with that.
    let redis = std::thread::spawn(|| Redis::start().unwrap()).join().unwrap();
    println!("{}\n{}", redis.addr(), redis.folder().display());
    while said.recv().await.is_some() {
        redis.pause().unwrap();
        println!("paused");
    }
}
