//! On which file systems the engine can stand.
//!
//! SQLite's write-ahead log needs memory and locks that all its users share, the liveness files need `flock`, and
//! the deadlines need one boot-time clock: all of that ends at the machine. So whatever can be mounted by two
//! machines at once is refused, also where it happens to be mounted by one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use leasehold_core::{Error, ErrorKind, Result};

const FUSE: u32 = 0x6573_5546;

/// What `statfs` calls the file systems that several machines can mount.
const SHARED: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB 2"),
    (0x0000_517b, "SMB"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x2003_0528, "OrangeFS"),
    (0xaad7_aaea, "PanFS"),
    (0x0000_564c, "NCP"),
    (0x786f_4256, "VirtualBox shared folder"),
    (0xbacb_acbc, "VMware shared folder"),
    (0x0000_00c0, "host file system of user-mode Linux"),
];

/// The FUSE file systems that are known to stay on one machine, as the mount table calls them. Most others are a
/// network in disguise (sshfs, GlusterFS, s3fs, virtiofs), so what is not known here is refused.
const LOCAL_FUSE: &[&str] = &[
    "fuseblk",
    "fuse.fuse-overlayfs",
    "fuse.bindfs",
    "fuse.encfs",
    "fuse.gocryptfs",
    "fuse.cryfs",
    "fuse.securefs",
    "fuse.ext2",
    "fuse.ext4",
    "fuse.ntfs-3g",
    "fuse.exfat-fuse",
];

/// Refuses a folder on a file system that machines can share.
pub(crate) fn check(folder: &Path) -> Result<()> {
    let stat = nix::sys::statfs::statfs(folder).map_err(|e| {
        Error::new(
            ErrorKind::Denied,
            "open",
            "cannot look at the folder of the database; make it, with the permissions that its users need, or \
             name another file",
        )
        .with("folder", folder.display())
        .with("cause", std::io::Error::from(e))
    })?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the magic numbers have 32 bits"
    )]
    let magic = stat.filesystem_type().0 as u32;
    let kind = if magic == FUSE { mounted_as(folder) } else { None };
    match judge(magic, kind.as_deref()) {
        Ok(()) => Ok(()),
        Err(why) => Err(Error::new(ErrorKind::Unsupported, "open", why).with("folder", folder.display())),
    }
}

/// Why not on this file system.
fn judge(magic: u32, fuse: Option<&str>) -> std::result::Result<(), String> {
    let name = match SHARED.iter().find(|(m, _)| *m == magic) {
        Some((_, name)) => (*name).to_owned(),
        None if magic != FUSE => return Ok(()),
        None => match fuse {
            Some(kind) if LOCAL_FUSE.contains(&kind) => return Ok(()),
            Some(kind) => format!("FUSE file system `{kind}`"),
            None => "FUSE file system of unknown kind".to_owned(),
        },
    };
    Err(format!(
        "the folder of the database is on a file system that several machines can share ({name}), where neither \
         SQLite's log nor the locks and clocks of this engine work; put the file on a local disk, or use a \
         server engine to lock between machines"
    ))
}

/// The type in the mount table of what a folder is on.
fn mounted_as(folder: &Path) -> Option<String> {
    let device = std::fs::metadata(folder).ok()?.dev();
    let device = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    kind_of_device(&table, &device)
}

fn kind_of_device(table: &str, device: &str) -> Option<String> {
    let line = table.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    let (_, behind) = line.split_once(" - ")?;
    behind.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_ones_will_do() {
        for (magic, fuse) in [
            (0xef53, None),
            (0x5846_5342, None),
            (0x0102_1994, None),
            (0x794c_7630, None),
            (FUSE, Some("fuseblk")),
        ] {
            assert_eq!(judge(magic, fuse), Ok(()));
        }
        check(Path::new("/")).unwrap();
    }

    #[test]
    fn shared_ones_are_refused_with_the_reason() {
        for (magic, _) in SHARED {
            assert!(judge(*magic, None).is_err());
        }
        insta::assert_debug_snapshot!([
            judge(0x6969, None),
            judge(FUSE, Some("fuse.sshfs")),
            judge(FUSE, Some("virtiofs")),
            judge(FUSE, None),
        ]);
    }

    #[test]
    fn the_mount_table_names_the_kind() {
        let table = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                     40 22 0:35 / /mnt rw,nosuid - fuse.sshfs me@there:/ rw";
        assert_eq!(kind_of_device(table, "0:35").as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind_of_device(table, "8:1").as_deref(), Some("ext4"));
        assert_eq!(kind_of_device(table, "9:9"), None);
    }
}
