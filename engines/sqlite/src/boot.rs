//! Which run of which machine this is.

use leasehold_core::{Error, ErrorKind, Result};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How many earlier boot ids a database remembers.
pub(crate) const BOOTS_MAX: usize = 64;

/// The id that the kernel drew when it started.
pub(crate) fn id() -> Result<String> {
    std::fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).map_err(|e| {
        Error::new(
            ErrorKind::Unsupported,
            "open",
            format!(
                "the SQLite engine needs Linux with /proc: it reads the machine's boot id from {BOOT_ID}, and \
                 cannot; use another engine here"
            ),
        )
        .with_source(e)
    })
}

/// Two machines use the file: the one that reads this is told so.
pub(crate) fn two_machines() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "boot id",
        "two machines use this database, for its boot id alternates, and their clocks and processes cannot be \
         compared; give each machine its own file, or use a server engine. If you have brought the file here \
         from another machine, delete it: nothing in it is worth keeping",
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_boot_id_is_a_uuid() {
        assert_eq!(super::id().unwrap().len(), 36);
    }
}
