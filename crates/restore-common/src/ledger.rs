//! What was verified before: of each archive its size, time, SHA-256 and verdict; of each guest its last drill.
//!
//! One file below the state folder, replaced as a whole: written beside, forced to the disk, renamed. Its first line holds
//! the SHA-256 of the rest, so a file that was cut, edited or half lost is noticed; it is never taken for an empty one.
//! Several programs may work with it at once: each takes the lock for as long as it puts one entry in.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{private, pve::Vmid};

/// Begins the first line; the digest follows.
const MAGIC: &str = "pve-restore ledger 1 ";

/// How long another program may hold the lock: it only reads and writes one small file meanwhile.
const LOCK_WITHIN: Duration = Duration::from_secs(30);

/// What is remembered of an archive that is gone, for so long: a storage that is not mounted comes back.
const FORGET_AFTER: Duration = Duration::from_secs(400 * 86_400);

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file is not what was written.
    #[error(
        "the record of what was verified, `{path}`, is damaged: {reason}\n\
         move it away to begin a new one (every archive is then read again), or put a copy of it back"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("the record of what was verified, `{path}`, was written by a newer version of this program")]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("cannot use the record of what was verified, `{path}`: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else keeps it locked.
    #[error("another program has kept `{path}` locked for {} s; nothing was recorded", LOCK_WITHIN.as_secs())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
}

/// What was found when an archive was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every byte is as it should be.
    Good,
    /// It cannot be restored, or is not what it was.
    Bad,
    /// A second reading found it good when a first one had not.
    Unstable,
}

/// The last time an archive was read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Bytes of the file.
    pub size: u64,
    /// When the file was last changed, as its file system has it: seconds since 1970 with a fraction.
    pub mtime: String,
    /// When it was read.
    pub when: Timestamp,
    /// SHA-256 of the file when it last was good, in hexadecimal: what every later reading is compared with.
    pub sha256: Option<String>,
    /// What was found.
    pub verdict: Verdict,
    /// Who read it: `verify-backups 0.1.0 on the node`.
    pub by: String,
    /// How long that took, in milliseconds.
    pub took_ms: u64,
}

impl Entry {
    /// Whether this is still about the file that has this size and time.
    pub fn is_about(&self, size: u64, mtime: &str) -> bool {
        self.size == size && self.mtime == mtime
    }

    /// The file's time in whole seconds since 1970.
    pub fn mtime_seconds(&self) -> Option<i64> {
        self.mtime.split('.').next()?.parse().ok()
    }
}

/// What a drill proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The guest was restored, its system came up, and every check that could be asked passed.
    Proven,
    /// It was restored and ran; nothing in it could say more.
    Started,
    /// It was not restored, did not come up, or failed a check.
    Failed,
}

/// The last drill of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    /// The volume id of the backup.
    pub archive: String,
    /// When that was made: seconds since 1970, UTC.
    pub ctime: i64,
    /// When it was drilled.
    pub when: Timestamp,
    /// What came of it.
    pub proof: Proof,
    /// The code of what was found, if anything was.
    pub code: Option<String>,
    /// What was found, in words.
    pub words: Option<String>,
    /// How long the restore took, in milliseconds; nothing when it was not reached.
    pub restore_ms: Option<u64>,
    /// How long it took from the start until its system was up.
    pub boot_ms: Option<u64>,
    /// How long it took until the throw-away guest was gone.
    pub took_ms: u64,
    /// Who did it: `verify-backups 0.1.0`.
    pub by: String,
}

/// Everything, as the file has it. The first key is the node, or [`LOCAL`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    /// By path.
    archives: BTreeMap<String, BTreeMap<String, Entry>>,
    /// By guest.
    #[serde(default)]
    drills: BTreeMap<String, BTreeMap<Vmid, Drilled>>,
}

/// Stands for this machine among the nodes.
pub const LOCAL: &str = "this machine";

/// The record, as it was last read or written.
pub struct Ledger {
    file: PathBuf,
    document: Mutex<Document>,
}

impl Ledger {
    /// Reads the ledger below the state folder. One that is not there is empty.
    pub fn open(state: &Path) -> Result<Self, LedgerError> {
        let file = state.join("ledger").join("verified");
        let document = read(&file)?;
        Ok(Self { file, document: Mutex::new(document) })
    }

    /// The last reading of an archive.
    pub fn archive(&self, node: &str, path: &str) -> Option<Entry> {
        self.document().archives.get(node)?.get(path).cloned()
    }

    /// Remembers that an archive was read, on the disk, too.
    pub fn record(&self, node: &str, path: &str, entry: Entry) -> Result<(), LedgerError> {
        self.change(|document| {
            document.archives.entry(node.to_owned()).or_default().insert(path.to_owned(), entry);
        })
    }

    /// The last drill of a guest.
    pub fn drill(&self, node: &str, vmid: Vmid) -> Option<Drilled> {
        self.document().drills.get(node)?.get(&vmid).cloned()
    }

    /// Remembers a drill, on the disk, too.
    pub fn record_drill(&self, node: &str, vmid: Vmid, entry: Drilled) -> Result<(), LedgerError> {
        self.change(|document| {
            document.drills.entry(node.to_owned()).or_default().insert(vmid, entry);
        })
    }

    /// Forgets the archives of a node that are not among `present` and were read long ago: retention removes archives every
    /// day. What was read lately is kept, for a storage that is only not mounted.
    pub fn forget_gone(
        &self,
        node: &str,
        present: &dyn Fn(&str) -> bool,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let is_gone = |path: &String, entry: &Entry| !present(path) && age(entry.when, now) > FORGET_AFTER;
        let known = self.document().archives.get(node).cloned().unwrap_or_default();
        if !known.iter().any(|(path, entry)| is_gone(path, entry)) {
            return Ok(());
        }
        self.change(|document| {
            if let Some(archives) = document.archives.get_mut(node) {
                archives.retain(|path, entry| !is_gone(path, entry));
            }
        })
    }

    fn document(&self) -> MutexGuard<'_, Document> {
        self.document.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads again what others may have written meanwhile, changes it, and writes it, under the lock.
    fn change(&self, change: impl FnOnce(&mut Document)) -> Result<(), LedgerError> {
        let mut mine = self.document();
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let fail = |source| LedgerError::Io { path: folder.to_owned(), source };
        private::make_folder(folder).map_err(fail)?;
        let _lock = lock(&folder.join("lock"))?;
        let mut document = read(&self.file)?;
        change(&mut document);
        write(&self.file, &document).map_err(fail)?;
        *mine = document;
        Ok(())
    }
}

/// How long ago; nothing for what is ahead of the clock.
fn age(when: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(when)).unwrap_or_default()
}

/// Given back when the file is closed, also by a program that is killed.
fn lock(path: &Path) -> Result<File, LedgerError> {
    let fail = |source| LedgerError::Io { path: path.to_owned(), source };
    private::check_file(path).map_err(fail)?;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(fail)?;
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(source)) => return Err(fail(source)),
            Err(fs::TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(LedgerError::Locked { path: path.to_owned() });
            }
            Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn read(file: &Path) -> Result<Document, LedgerError> {
    let bytes = match read_own(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Document::default()),
        Err(source) => return Err(LedgerError::Io { path: file.to_owned(), source }),
    };
    let damaged = |reason: String| LedgerError::Damaged { path: file.to_owned(), reason };
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text".to_owned()))?;
    let (head, body) = text.split_once('\n').ok_or_else(|| damaged("it has no first line".to_owned()))?;
    let Some(digest) = head.strip_prefix(MAGIC) else {
        let newer = head.starts_with("pve-restore ledger ");
        return Err(if newer {
            LedgerError::Newer { path: file.to_owned() }
        } else {
            damaged("its first line is not that of a ledger".to_owned())
        });
    };
    if digest != hex(&Sha256::digest(body)) {
        return Err(damaged("its content does not match its checksum".to_owned()));
    }
    serde_json::from_str(body).map_err(|error| damaged(error.to_string()))
}

/// What others could have written would tell of readings that never were.
fn read_own(file: &Path) -> io::Result<Vec<u8>> {
    file.parent().map_or(Ok(()), private::check_folder)?;
    private::check_file(file)?;
    fs::read(file)
}

fn write(file: &Path, document: &Document) -> io::Result<()> {
    let body = serde_json::to_string(document)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    // Nobody else may read a temporary file: tempfile makes it so.
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(beside, "{MAGIC}{}", hex(&Sha256::digest(&body)))?;
    beside.write_all(body.as_bytes())?;
    beside.as_file().sync_all()?;
    beside.persist(file)?;
    File::open(folder)?.sync_all()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn entry(when: &str) -> Entry {
        Entry {
            size: 4096,
            mtime: "1769734804.5".to_owned(),
            when: when.parse().unwrap(),
            sha256: Some("00".repeat(32)),
            verdict: Verdict::Good,
            by: "a test".to_owned(),
            took_ms: 12,
        }
    }

    const WHEN: &str = "2026-01-30T12:00:00Z";

    #[test]
    fn what_was_recorded_is_there_the_next_time_and_only_for_its_owner() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path()).unwrap();
        assert_eq!(ledger.archive("pve", "/a"), None);
        ledger.record("pve", "/a", entry(WHEN)).unwrap();
        let again = Ledger::open(state.path()).unwrap();
        assert_eq!(again.archive("pve", "/a"), Some(entry(WHEN)));
        assert_eq!(again.archive("other", "/a"), None);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = state.path().join("ledger");
        assert_eq!(mode(folder.clone()), 0o700);
        let files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 2, "the ledger and its lock: {files:?}");
        assert!(files.into_iter().all(|file| mode(file) == 0o600));
    }

    #[test]
    fn the_last_drill_of_a_guest_is_remembered_beside_its_archives() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path()).unwrap();
        ledger.record("pve", "/a", entry(WHEN)).unwrap();
        let vmid = "101".parse().unwrap();
        let drilled = |proof| Drilled {
            archive: "local:backup/a".to_owned(),
            ctime: 7,
            when: WHEN.parse().unwrap(),
            proof,
            code: None,
            words: None,
            restore_ms: Some(1),
            boot_ms: None,
            took_ms: 2,
            by: "a test".to_owned(),
        };
        ledger.record_drill("pve", vmid, drilled(Proof::Failed)).unwrap();
        ledger.record_drill("pve", vmid, drilled(Proof::Proven)).unwrap();
        let again = Ledger::open(state.path()).unwrap();
        assert_eq!(again.drill("pve", vmid), Some(drilled(Proof::Proven)));
        assert_eq!(again.drill("other", vmid), None);
        assert_eq!(again.archive("pve", "/a"), Some(entry(WHEN)));
    }

    #[test]
    fn programs_at_the_same_time_lose_nothing_of_each_other() {
        let state = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            for program in 0..4 {
                let ledger = Ledger::open(state.path()).unwrap();
                scope.spawn(move || {
                    for n in 0..10 {
                        ledger.record("pve", &format!("/{program}/{n}"), entry(WHEN)).unwrap();
                    }
                });
            }
        });
        let ledger = Ledger::open(state.path()).unwrap();
        assert_eq!(ledger.document().archives["pve"].len(), 40);
    }

    #[test]
    fn a_damaged_ledger_is_never_an_empty_one() {
        let state = tempfile::tempdir().unwrap();
        Ledger::open(state.path()).unwrap().record("pve", "/a", entry(WHEN)).unwrap();
        let file = state.path().join("ledger/verified");
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            let error = Ledger::open(state.path()).err().unwrap_or_else(|| panic!("cut at {length}"));
            assert!(error.to_string().contains("ledger/verified"), "{error}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&file, flipped).unwrap();
            assert!(Ledger::open(state.path()).is_err(), "flipped at {at}");
        }
        let damaged = fs::read(&file).unwrap();
        let ledger = Ledger { file: file.clone(), document: Mutex::default() };
        ledger.record("pve", "/b", entry(WHEN)).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), damaged, "a damaged ledger is not written over");
    }

    #[test]
    fn what_others_could_have_written_is_not_believed_and_links_are_not_followed() {
        let state = tempfile::tempdir().unwrap();
        Ledger::open(state.path()).unwrap().record("pve", "/a", entry(WHEN)).unwrap();
        let (folder, elsewhere) = (state.path().join("ledger"), state.path().join("elsewhere"));
        let refused = || {
            let ledger = Ledger { file: folder.join("verified"), document: Mutex::default() };
            ledger.record("pve", "/b", entry(WHEN)).unwrap_err();
            Ledger::open(state.path()).err().map(|error| error.to_string())
        };
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused().is_some_and(|error| error.contains("others may write")));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        for part in ["ledger/verified", "ledger/lock", "ledger"] {
            let path = state.path().join(part);
            fs::rename(&path, &elsewhere).unwrap();
            symlink(&elsewhere, &path).unwrap();
            let before = fs::read(elsewhere.join("verified")).or_else(|_| fs::read(&elsewhere)).unwrap();
            assert_eq!(refused().is_none(), part == "ledger/lock", "{part}: the lock is not needed to read");
            let after = fs::read(elsewhere.join("verified")).or_else(|_| fs::read(&elsewhere)).unwrap();
            assert_eq!(after, before, "{part}");
            fs::remove_file(&path).unwrap();
            fs::rename(&elsewhere, &path).unwrap();
        }
    }

    #[test]
    fn what_is_long_gone_is_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path()).unwrap();
        for (path, when) in
            [("/old", "2024-01-30T12:00:00Z"), ("/kept", "2024-01-30T12:00:00Z"), ("/new", WHEN)]
        {
            ledger.record("pve", path, entry(when)).unwrap();
        }
        ledger.forget_gone("pve", &|path| path == "/kept", WHEN.parse().unwrap()).unwrap();
        let left: Vec<_> = ledger.document().archives["pve"].keys().cloned().collect();
        assert_eq!(left, ["/kept", "/new"]);
    }
}
