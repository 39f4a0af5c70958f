//! Findings about an archive.

use crate::finding::{
    Code,
    Severity::{Error, Note, Warning},
};

/// Not one byte is in it.
pub const EMPTY: Code = Code {
    name: "archive-empty",
    severity: Error,
    meaning: "The archive has no content.",
    action: "Remove it and back the guest up again; look for a full storage at the time of its date.",
};
/// Recorded, and not there.
pub const MISSING: Code = Code {
    name: "archive-missing",
    severity: Error,
    meaning: "A backup was made, and its file is not there any more.",
    action: "Find out who removed or moved it, and put it back; if it was meant to go, remove its .log and .notes too.",
};
/// Another size than the listing's.
pub const SIZE: Code = Code {
    name: "archive-size-differs",
    severity: Error,
    meaning: "The file has another size than the storage's listing says.",
    action: "Run the check again; if it stays, the file was changed after it was written, so do not rely on it.",
};
/// It cannot be opened.
pub const UNREADABLE: Code = Code {
    name: "archive-unreadable",
    severity: Error,
    meaning: "The node cannot read the file.",
    action: "Check the disk or the mount that it lies on, and the node's kernel log.",
};
/// Its beginning is damaged.
pub const HEADER: Code = Code {
    name: "archive-header",
    severity: Error,
    meaning: "The beginning of the archive cannot be read, so nothing in it can be restored.",
    action: "Back the guest up again now, and check the storage: its other archives may be damaged as well.",
};
/// No configuration inside.
pub const NO_CONFIG: Code = Code {
    name: "archive-config-missing",
    severity: Error,
    meaning: "The guest's configuration is not in the archive, and a restore refuses it.",
    action: "Back the guest up again; the disks in this archive can only be taken out by hand.",
};
/// Not what its name says.
pub const WRONG_TYPE: Code = Code {
    name: "archive-wrong-type",
    severity: Error,
    meaning: "The content is of another type than the name's ending says.",
    action: "Rename it to what it is (or remove it): a restore goes by the name and fails.",
};
/// A name that only the listing accepts.
pub const REFUSED: Code = Code {
    name: "archive-refused-by-pct",
    severity: Warning,
    meaning: "An archive with the ending .tgz is listed, and `pct restore` refuses it.",
    action: "Rename it to end in .tar.gz.",
};
/// What a backup that broke off left.
pub const UNFINISHED: Code = Code {
    name: "backup-unfinished",
    severity: Warning,
    meaning: "A backup broke off and left its half-written files.",
    action: "Remove them once no backup runs; they take space and cannot be restored.",
};
/// Not of a backup.
pub const FOREIGN: Code = Code {
    name: "file-foreign",
    severity: Note,
    meaning: "A file in the backup folder has no name that vzdump gives, so it belongs to no guest.",
    action: "Move it elsewhere, or rename it as vzdump names backups.",
};
/// Its own log has an error.
pub const LOG: Code = Code {
    name: "backup-log-error",
    severity: Warning,
    meaning: "The log of this backup has an error in it.",
    action: "Read the .log beside the archive, remove the cause and back the guest up again.",
};
/// The backup server found it damaged.
pub const SNAPSHOT_BAD: Code = Code {
    name: "snapshot-damaged",
    severity: Error,
    meaning: "The Proxmox Backup Server found this backup damaged when it verified it.",
    action: "Back the guest up again; the server then sends the damaged parts anew.",
};
/// It did not arrive in whole.
pub const SNAPSHOT_UNFINISHED: Code = Code {
    name: "snapshot-unfinished",
    severity: Error,
    meaning: "Not all of this backup has arrived on the Proxmox Backup Server.",
    action: "Remove it on the server and back the guest up again.",
};
/// The backup server never looked at it.
pub const SNAPSHOT_UNVERIFIED: Code = Code {
    name: "snapshot-never-verified",
    severity: Note,
    meaning: "The Proxmox Backup Server has never verified this backup.",
    action: "Set up a verify job on the server.",
};

/// All of them.
pub const ALL: &[&Code] = &[
    &EMPTY,
    &MISSING,
    &SIZE,
    &UNREADABLE,
    &HEADER,
    &NO_CONFIG,
    &WRONG_TYPE,
    &REFUSED,
    &UNFINISHED,
    &FOREIGN,
    &LOG,
    &SNAPSHOT_BAD,
    &SNAPSHOT_UNFINISHED,
    &SNAPSHOT_UNVERIFIED,
];
