//! Names: what looks alike is another lock, and what is no name is refused.

use leasehold::{ErrorKind, NAME_BYTES_MAX};

use crate::setup::Setup;
use crate::test::{Test, test};
use crate::verdict::{Failure, Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("names", names_that_look_alike_are_different_locks),
        test!("names", what_is_no_name_is_refused),
        test!("names", the_longest_names_differ_in_their_last_byte),
    ]
}

/// Each differs from another in one thing that some storage might not tell apart.
const ALIKE: &[&str] = &[
    "a",
    "A",
    "a ",
    " a",
    "a/",
    "/a",
    "a//",
    "a/b",
    "a\\b",
    "a.b",
    "a..b",
    "./a",
    "../a",
    "a:b",
    "a|b",
    "{a}",
    "{a",
    "a}",
    "a%",
    "a%20",
    "a_",
    "a*",
    "a?",
    "a[b]",
    "a'b",
    "a\"b",
    "a;b",
    "a$b",
    "a#b",
    "a@b",
    "a,b",
    "ä",
    "a\u{308}",
    "Ä",
    "á",
    "ß",
    "ss",
    "ﬁ",
    "fi",
    "K",
    "\u{212a}",
    "🔒",
    "\u{200b}a",
    "a\u{a0}",
    "NULL",
    "null",
];

async fn names_that_look_alike_are_different_locks(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let mut guards = Vec::new();
    for name in ALIKE {
        let got = client.mutex(&setup.name(name))?.try_lock().await?;
        guards.push(got.ok_or_else(|| Failure::Violation(format!("`{name}` counts as another's name")))?);
    }
    let mut held: Vec<String> = guards.iter().map(|g| g.name().to_string()).collect();
    held.sort_unstable();
    let probe = setup.probe_of(client.engine().clone(), setup.env.clone());
    let shown: Vec<String> = probe.queues().await?.iter().map(|q| q.name.to_string()).collect();
    ensure!(shown == held, "inspect shows {shown:?}\ninstead of {held:?}");
    for name in ALIKE {
        let busy = client.mutex(&setup.name(name))?.try_lock().await?.is_none();
        ensure!(busy, "`{name}` is held, and was had once more");
    }
    drop(guards);
    setup.emptied(&client).await
}

async fn what_is_no_name_is_refused(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for bad in ["", "a\0b", "\0", "a\nb", "a\tb", "\u{7f}", "a\u{85}b", &long] {
        for refused in
            [client.mutex(bad).map(drop), client.rwlock(bad).map(drop), client.semaphore(bad, 3).map(drop)]
        {
            let kind = refused.as_ref().err().map(leasehold::Error::kind);
            ensure!(kind == Some(ErrorKind::InvalidInput), "{bad:?} as a name gives {refused:?}");
        }
    }
    setup.emptied(&client).await
}

async fn the_longest_names_differ_in_their_last_byte(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let stem = setup.name("");
    let stem = format!("{stem}{}", "x".repeat(NAME_BYTES_MAX - 1 - stem.len()));
    let one = client.mutex(&format!("{stem}1"))?.try_lock().await?;
    let two = client.mutex(&format!("{stem}2"))?.try_lock().await?;
    ensure!(one.is_some() && two.is_some(), "the last byte of a long name does not count");
    drop((one, two));
    setup.emptied(&client).await
}
