//! Which versions of etcd keep a lease for as long as they say.

use leasehold_core::engine::Validity;

/// The first of each line of releases in which a leader that was stalled cannot end leases any more that its successor
/// keeps (issue 15247 of etcd). Later lines never had the fault.
const MENDED: [(u32, u32, u32); 2] = [(3, 4, 31), (3, 5, 13)];

/// What a version promises, and a warning if that is less than it could.
pub(crate) fn validity(version: &str) -> (Validity, Option<String>) {
    let mended = parts(version).is_some_and(|(major, minor, patch)| {
        match MENDED.iter().find(|line| (line.0, line.1) == (major, minor)) {
            Some(first) => patch >= first.2,
            None => (major, minor) > (3, 5),
        }
    });
    if mended {
        return (Validity::Proven, None);
    }
    let warning = format!(
        "a leader of etcd {version} that was stalled may end leases that its successor keeps (issue 15247), so locks may be \
         lost before their holders know; use 3.4.31, 3.5.13, 3.6 or later"
    );
    (Validity::Estimated, Some(warning))
}

/// `3.5.13`, `3.6.0-rc.1`.
fn parts(version: &str) -> Option<(u32, u32, u32)> {
    let release = version.split(['-', '+']).next()?;
    let mut parts = release.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let proven = |version: &str| validity(version).0 == Validity::Proven;
        for mended in ["3.4.31", "3.4.40", "3.5.13", "3.5.13+dirty", "3.6.0", "3.6.0-rc.1", "3.10.2", "4.0.0"]
        {
            assert!(proven(mended), "{mended}");
        }
        for faulty in ["3.4.23", "3.4.30", "3.5.12", "3.3.27", "2.3.8", "", "3.x", "Not provided"] {
            assert!(!proven(faulty), "{faulty}");
        }
        insta::assert_snapshot!(validity("3.4.23").1.unwrap());
    }
}
