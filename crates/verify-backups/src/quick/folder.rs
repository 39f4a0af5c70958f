//! What is in the folders of backups: one fixed script of the node's own Perl looks at all of them, and at the beginning
//! of each archive.

use std::time::Duration;

use restore_common::{
    pve::{PveError, StorageId},
    remote::{Command, Host, Output},
};

/// It starts a program only for an archive that Perl cannot decompress, in a process for each processor.
const SCRIPT: &str = include_str!("folder.pl");
/// A slow disk with very many archives.
const LIMIT: Duration = Duration::from_secs(900);

/// The folder of a storage.
#[derive(Clone, Debug)]
pub struct FolderLook {
    /// The storage.
    pub storage: StorageId,
    /// Its absolute path on the node.
    pub path: String,
    /// Why it could not be read.
    pub unreadable: Option<String>,
    /// Files and folders in it.
    pub files: Vec<FileSeen>,
    /// Logs of backups in it.
    pub logs: Vec<LogSeen>,
}

/// A file in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSeen {
    /// Its name. Bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970, UTC.
    pub mtime: i64,
    /// What its first bytes are: `zstd`, `vma`, `tar`, …; `folder`, or `file` where nothing was read.
    pub kind: String,
    /// What was found in its beginning; nothing when its name is not that of an archive.
    pub verdict: Option<Verdict>,
}

/// What was found in the beginning of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Header and configuration are readable.
    Good,
    /// Nothing is in it.
    Empty,
    /// It could not be opened or read.
    Unreadable(String),
    /// It is something else than its name says.
    WrongType(String),
    /// Its header cannot be read.
    Header(String),
    /// There is no configuration in it.
    NoConfig(String),
}

/// A log in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSeen {
    /// Its name.
    pub name: String,
    /// Seconds since 1970, UTC.
    pub mtime: i64,
    /// What it says about the backup's end.
    pub ended: Ended,
}

/// What a log says about the backup's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well.
    Finished,
    /// With this error.
    Failed(String),
    /// Nothing.
    Unknown,
}

/// One pass over all folders.
pub(super) fn command(folders: &[(StorageId, String)]) -> Command {
    let paths = folders.iter().map(|(_, path)| path.as_str());
    Command::read("perl").args(["-e", SCRIPT]).args(paths).limit(LIMIT)
}

/// Reads the answer to [`command`].
pub(super) fn read(
    host: &dyn Host,
    command: &Command,
    answer: &Output,
    folders: Vec<(StorageId, String)>,
) -> Result<Vec<FolderLook>, PveError> {
    let text = answer.stdout_of(host, command)?;
    let unreadable = |reason: String| PveError::Unreadable {
        host: host.name().to_owned(),
        command: "the look into the backup folders".to_owned(),
        reason,
    };
    let empty =
        |(storage, path)| FolderLook { storage, path, unreadable: None, files: Vec::new(), logs: Vec::new() };
    let mut looks: Vec<_> = folders.into_iter().map(empty).collect();
    let Some(text) = text.strip_suffix("end\n") else {
        return Err(unreadable("its end is missing".to_owned()));
    };
    for line in text.lines() {
        take(&mut looks, line).ok_or_else(|| unreadable(format!("`{line}`")))?;
    }
    Ok(looks)
}

fn take(looks: &mut [FolderLook], line: &str) -> Option<()> {
    let mut fields = line.split(' ');
    let what = fields.next()?;
    let look = looks.get_mut(fields.next()?.parse::<usize>().ok()?)?;
    match (what, fields.collect::<Vec<_>>().as_slice()) {
        ("folder", ["ok", _]) => {}
        ("folder", ["gone", reason]) => look.unreadable = Some(decoded(reason)?),
        ("file", [name, size, mtime, kind, verdict, words]) => look.files.push(FileSeen {
            name: decoded(name)?,
            size: size.parse().ok()?,
            mtime: mtime.parse().ok()?,
            kind: (*kind).to_owned(),
            verdict: match *verdict {
                "-" => None,
                word => Some(verdict_of(word, decoded(words)?)?),
            },
        }),
        ("log", [name, mtime, ended, words]) => look.logs.push(LogSeen {
            name: decoded(name)?,
            mtime: mtime.parse().ok()?,
            ended: match *ended {
                "finished" => Ended::Finished,
                "failed" => Ended::Failed(decoded(words)?),
                _ => Ended::Unknown,
            },
        }),
        _ => return None,
    }
    Some(())
}

fn verdict_of(word: &str, words: String) -> Option<Verdict> {
    Some(match word {
        "ok" => Verdict::Good,
        "empty" if words.is_empty() => Verdict::Empty,
        "unreadable" => Verdict::Unreadable(words),
        "type" => Verdict::WrongType(words),
        "header" | "cut" | "empty" => Verdict::Header(words),
        "config" => Verdict::NoConfig(words),
        _ => return None,
    })
}

/// Text from hexadecimal; `-` is none.
fn decoded(hex: &str) -> Option<String> {
    if hex == "-" {
        return Some(String::new());
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
    Some(String::from_utf8_lossy(&bytes?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks() -> Vec<FolderLook> {
        vec![FolderLook {
            storage: "local".parse().unwrap(),
            path: "/var/lib/vz/dump".to_owned(),
            unreadable: None,
            files: Vec::new(),
            logs: Vec::new(),
        }]
    }

    #[test]
    fn a_name_may_hold_anything() {
        let mut looks = looks();
        take(&mut looks, "file 0 610a20ff 12 1769774400 file - -").unwrap();
        assert_eq!(looks[0].files[0].name, "a\n \u{fffd}");
        take(&mut looks, "file 0 61 12 5 vma header 78").unwrap();
        assert_eq!(looks[0].files[1].verdict, Some(Verdict::Header("x".to_owned())));
        take(&mut looks, "log 0 61 5 failed 6e6f").unwrap();
        assert_eq!(looks[0].logs[0].ended, Ended::Failed("no".to_owned()));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("file 1 61 12 5 vma ok -")]
    #[case("file 0 6 x 5 vma ok -")]
    #[case("file 0 61 12 5 vma perhaps -")]
    #[case("perl: not found")]
    fn anything_else_is_no_answer(#[case] line: &str) {
        assert_eq!(take(&mut looks(), line), None, "{line}");
    }
}
