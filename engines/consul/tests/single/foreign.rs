//! Locks of other programs: `consul lock` and whoever uses the API as it does.

use std::process::Stdio;

use leasehold_core::{ErrorKind, Standing};
use leasehold_testkit::consul::Consul as Server;

use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_lock_and_ours_lose_no_increment() {
    const TURNS: usize = 6;
    let server = Server::start().unwrap();
    let folder = leasehold_testkit::scratch().unwrap();
    let counter = folder.path().join("counter");
    std::fs::write(&counter, "0").unwrap();
    let increment = format!("n=$(cat {0}); sleep 0.02; echo $((n + 1)) >{0}", counter.display());
    let theirs: Vec<_> = (0..2)
        .map(|_| {
            let each = format!("for turn in 1 2 3; do \"$CONSUL\" lock m '{increment}' || exit 1; done");
            let ctl = server.ctl_command().unwrap();
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &each]).env("CONSUL", ctl.get_program()).stdin(Stdio::null());
            shell.envs(ctl.get_envs().filter_map(|(key, value)| Some((key, value?))));
            shell.spawn().unwrap()
        })
        .collect();
    let client = client(&server.url(), SHORT).await;
    let ours = async {
        for _ in 0..TURNS {
            let guard = client.mutex("m").unwrap().lock().await.unwrap();
            let n: usize = std::fs::read_to_string(&counter).unwrap().trim().parse().unwrap();
            tokio::task::yield_now().await;
            std::fs::write(&counter, (n + 1).to_string()).unwrap();
            guard.release().await.unwrap();
        }
    };
    within("all of ours get in", ours).await;
    for mut child in theirs {
        assert!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success());
    }
    assert_eq!(std::fs::read_to_string(&counter).unwrap().trim(), (TURNS + 6).to_string());
}

#[tokio::test]
async fn a_lock_of_the_api_is_ahead_of_the_queue_and_its_release_is_noticed() {
    let server = Server::start().unwrap();
    let session = server.session(10).unwrap();
    let take = format!("/v1/kv/m/.lock?acquire={session}&flags=3304740253564472344");
    assert_eq!(server.api("PUT", &take, "").unwrap().ok().unwrap().trim(), "true");
    let engine = open(&server.url()).await;
    let claim = claim("m", 1);
    assert_eq!(ahead(&engine.join_one(&claim).await), 1);
    assert!(engine.page("m").await.queues[0].claims[0].is_foreign());
    let hint = engine.hint(&claim);
    // Its flags stay, as with Consul's own client.
    server.api("PUT", &take.replace("acquire", "release"), "").unwrap().ok().unwrap();
    hint.await;
    token(&engine.look(&claim).await);
    let taken = server.api("PUT", &take, "").unwrap().ok().unwrap();
    assert_eq!(taken.trim(), "false", "ours keeps it out");
}

#[tokio::test]
async fn a_key_that_is_no_lock_is_refused_and_not_touched() {
    let server = Server::start().unwrap();
    server.api("PUT", "/v1/kv/m/.lock", "somebody's").unwrap().ok().unwrap();
    let engine = open(&server.url()).await;
    let error = engine.try_join(&claim("m", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert_eq!(server.ctl(["kv", "get", "m/.lock"]).unwrap(), "somebody's\n");
}

#[tokio::test]
async fn readers_keep_the_lock_of_others_out_until_the_last_has_gone() {
    let server = Server::start().unwrap();
    let (one, other) = (open(&server.url()).await, open(&server.url()).await);
    let (first, second) = (share("m", 1, (1, 9)), share("m", 2, (1, 9)));
    token(&one.join_one(&first).await);
    token(&other.join_one(&second).await);
    let session = server.session(10).unwrap();
    let take = || {
        let path = format!("/v1/kv/m/.lock?acquire={session}&flags=3304740253564472344");
        server.api("PUT", &path, "").unwrap().ok().unwrap().trim().to_owned()
    };
    assert_eq!(take(), "false");
    let made = || {
        let key = server.api("GET", "/v1/kv/m/.lock", "").unwrap().ok().unwrap();
        let at = key.find("\"CreateIndex\":").unwrap();
        key[at..].split(',').next().unwrap().to_owned()
    };
    let before = made();
    one.release(&first).await;
    assert_eq!(made(), before, "it must not be nobody's for a moment");
    assert_eq!(take(), "false", "the second still holds");
    assert!(matches!(other.look(&second).await, Standing::Held { .. }));
    other.release(&second).await;
    assert_eq!(take(), "true");
}
