//! One reading of one archive: the command, what it printed, and what that means.

use std::path::Path;

use restore_common::{
    ledger::{Entry, Verdict},
    pve::{ArchiveName, Compression, GuestKind, verify_summary},
    remote::{Command, Ending, Output},
    ui::format,
};

use crate::{
    codes::{
        archive::{NO_CONFIG, UNREADABLE},
        deep::{CHANGED, DAMAGED, INCOMPLETE, TRUNCATED},
    },
    finding::Finding,
};

/// Most that is kept of what the other program says.
const KEPT: usize = 64 * 1024;

/// Exit status of a program whose reader went away.
const SIGPIPE: i32 = 141;

/// Reads the file, in Perl.
const READER: &str = include_str!("reader.pl");

/// The command that reads an archive to its end on a node.
pub(super) fn command(name: &ArchiveName, path: &str, limit: Option<u32>) -> Command {
    command_by(READER, name, path, limit)
}

fn command_by(reader: &str, name: &ArchiveName, path: &str, limit: Option<u32>) -> Command {
    let structure = match name.kind {
        GuestKind::Qemu => "vma",
        GuestKind::Lxc => "tar",
    };
    let compression = match name.compression {
        Compression::None => "none",
        Compression::Zstd => "zstd",
        Compression::Gzip => "gzip",
        Compression::Lzo => "lzo",
        Compression::Bzip2 => "bzip2",
    };
    Command::read("bash")
        .args(["-c", include_str!("read.sh"), "read", path, structure, compression])
        .arg(limit.unwrap_or(0).to_string())
        .args([reader, include_str!("ending.pl")])
}

/// What a reading has printed so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Bytes of the file.
    pub(super) read: u64,
    /// SHA-256 of all of it.
    pub(super) sha256: Option<String>,
    /// The file was not there.
    gone: bool,
    /// Where and why the file could not be read on.
    failed: Option<(u64, String)>,
    /// Exit statuses: of reading, of decompressing, of the program that knows the structure.
    status: Option<[i32; 3]>,
    /// Bytes of the last 1024 of a tar archive that are not zero.
    end: Option<u64>,
    /// What that program said.
    said: String,
}

impl Reading {
    /// Takes in a line of output.
    pub(super) fn hear(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "read" => self.read = rest.parse().unwrap_or(self.read),
            "gone" => self.gone = true,
            "failed" => {
                let (at, why) = rest.split_once(' ').unwrap_or((rest, ""));
                self.failed = Some((at.parse().unwrap_or(0), why.to_owned()));
            }
            "status" => {
                let all: Option<Vec<i32>> = rest.split(' ').map(|status| status.parse().ok()).collect();
                self.status = all.and_then(|all| all.try_into().ok());
            }
            "end" => self.end = rest.parse().ok(),
            "sha256" => self.sha256 = Some(rest.to_owned()),
            "out" if self.said.len() < KEPT => {
                self.said.push_str(rest);
                self.said.push('\n');
            }
            _ => {}
        }
    }
}

/// What a reading says about the archive.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Every byte was read and is as it should be.
    Good {
        /// SHA-256 of the file.
        sha256: String,
    },
    /// It was read, and something is wrong.
    Bad {
        /// What.
        finding: Finding,
        /// SHA-256 of the file, where it could be read to its end.
        sha256: Option<String>,
    },
    /// It is not there any more.
    Gone,
    /// The reading itself did not work: nothing is known.
    Unknown(String),
}

/// Judges a reading that ended. `before` is what the ledger has of this archive.
pub(super) fn judge(
    name: &ArchiveName,
    reading: &Reading,
    output: &Output,
    before: Option<&Entry>,
) -> Outcome {
    if reading.gone {
        return Outcome::Gone;
    }
    let sha256 = reading.sha256.clone();
    if let Some((at, why)) = &reading.failed {
        let words = format!("it cannot be read on at byte {at}: {why}");
        return Outcome::Bad { finding: Finding::new(&UNREADABLE, words), sha256: None };
    }
    let (Some(status), Some(sum)) = (reading.status, &sha256) else {
        return Outcome::Unknown(format!(
            "reading it ended with {}{}",
            output.ending,
            said_last(&output.stderr)
        ));
    };
    if output.ending != Ending::Exit(0) || status[0] != 0 {
        return Outcome::Unknown(format!("its bytes were not all read{}", said_last(&output.stderr)));
    }
    // 126 and 127: there is no such program. That says nothing about the archive.
    if status.iter().any(|status| [126, 127].contains(status)) {
        return Outcome::Unknown(format!(
            "a program to read it with is missing{}",
            said_last(&output.stderr)
        ));
    }
    match wrong(name, reading, status, &output.stderr).or_else(|| changed(before, sum)) {
        Some(finding) => Outcome::Bad { finding, sha256 },
        None => Outcome::Good { sha256: sum.clone() },
    }
}

/// What tar says where no member begins although one should. Source: GNU tar, `src/list.c`.
const TAR_IS_LOST: [&str; 2] = ["does not look like a tar archive", "Skipping to next header"];

fn wrong(name: &ArchiveName, reading: &Reading, status: [i32; 3], stderr: &str) -> Option<Finding> {
    let [_, unpack, structure] = status;
    let pipe_broke = unpack == SIGPIPE || (structure != 0 && stderr.to_lowercase().contains("broken pipe"));
    if unpack != 0 && !pipe_broke {
        let words = last_words(stderr).unwrap_or("the decompressor failed and said nothing");
        return Some(damage(words));
    }
    if name.kind == GuestKind::Lxc && reading.said.contains("Not found in archive") {
        // Of an archive that is damaged it may be the part that tar went past, of one that was cut the missing part.
        if let Some(words) =
            reading.said.lines().find(|line| TAR_IS_LOST.iter().any(|sign| line.contains(sign)))
        {
            return Some(damage(words));
        }
        if reading.end.is_some_and(|other| other > 0) {
            return Some(no_end());
        }
        return Some(Finding::new(&NO_CONFIG, "it holds no ./etc/vzdump/pct.conf"));
    }
    if structure != 0 || unpack != 0 {
        let words = last_words(&reading.said).unwrap_or("the structure is not that of an archive");
        return Some(damage(words));
    }
    match name.kind {
        GuestKind::Qemu => incomplete(&reading.said),
        GuestKind::Lxc if reading.end != Some(0) => Some(no_end()),
        GuestKind::Lxc => None,
    }
}

fn no_end() -> Finding {
    Finding::new(&TRUNCATED, "it has no end: a whole one ends in 1024 zero bytes")
}

fn incomplete(said: &str) -> Option<Finding> {
    let named = |line: &str| line.starts_with("CFG: ") && line.ends_with(" name: qemu-server.conf");
    if !said.lines().any(named) {
        return Some(Finding::new(&NO_CONFIG, "it holds no qemu-server.conf"));
    }
    let summary = verify_summary(said);
    let (there, wanted) = (format::bytes(summary.described), format::bytes(summary.expected));
    let words = format!(
        "it describes {there} of {wanted} of its disks ({} of {} bytes)",
        summary.described, summary.expected
    );
    (!summary.is_complete()).then(|| Finding::new(&INCOMPLETE, words))
}

/// Its bytes are not those that were found good before.
pub(crate) fn changed(before: Option<&Entry>, sum: &str) -> Option<Finding> {
    let before = before?;
    let known = before.sha256.as_ref().filter(|known| *known != sum)?;
    let words = format!(
        "it is readable, but its SHA-256 is not the one recorded on {} (was {}…, is {}…)",
        before.when.strftime("%Y-%m-%d"),
        known.get(..12).unwrap_or(known),
        sum.get(..12).unwrap_or(sum)
    );
    Some(Finding::new(&CHANGED, words))
}

/// Cut off or damaged, in the other program's words.
fn damage(words: &str) -> Finding {
    let lower = words.to_lowercase();
    let cut = [
        "premature",
        "unexpected end",
        "got eof",
        "unexpected eof",
        "read short",
        "short vma extent (",
        "incomplete",
    ];
    let code = if cut.iter().any(|sign| lower.contains(sign)) { &TRUNCATED } else { &DAMAGED };
    Finding::new(code, words)
}

/// The last line that says something about the archive itself.
fn last_words(text: &str) -> Option<&str> {
    let idle = ["tar: Exiting with failure", "tar: Error is not recoverable", "Trace/breakpoint trap"];
    let mut lines = text.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty() && !idle.iter().any(|words| line.contains(words)))
}

fn said_last(stderr: &str) -> String {
    last_words(stderr).map_or_else(String::new, |words| format!(": {words}"))
}

/// What the ledger is to keep of an archive's readings. A sum that once was good stays the one to compare with.
pub(super) fn entry_of(
    outcome: &Outcome,
    before: Option<&Entry>,
    stable: bool,
    mut entry: Entry,
) -> Option<Entry> {
    match outcome {
        Outcome::Good { sha256 } => {
            entry.verdict = if stable { Verdict::Good } else { Verdict::Unstable };
            entry.sha256 = Some(sha256.clone());
        }
        Outcome::Bad { .. } => {
            entry.verdict = Verdict::Bad;
            entry.sha256 = before.and_then(|before| before.sha256.clone());
        }
        Outcome::Gone | Outcome::Unknown(_) => return None,
    }
    Some(entry)
}

/// Its file name, for progress and messages.
pub(crate) fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use restore_common::remote::{Host as _, LocalHost};
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Reads a file of this machine as a node would.
    fn read(path: &str, name: &str) -> (Reading, Output) {
        read_by(READER, path, name)
    }

    fn read_by(reader: &str, path: &str, name: &str) -> (Reading, Output) {
        let command = command_by(reader, &ArchiveName::parse(name).unwrap(), path, None);
        let state = tempfile::tempdir().unwrap();
        let output = LocalHost::new(state.path(), Vec::new()).unwrap().run(&command).unwrap();
        let mut reading = Reading::default();
        output.stdout.lines().for_each(|line| reading.hear(line));
        (reading, output)
    }

    const TAR: &str = "vzdump-lxc-102-2026_01_30-01_00_04.tar";

    #[test]
    fn an_error_of_the_medium_is_no_damage_of_the_archive() {
        // Nothing is mapped at the address 0.
        let (reading, output) = read("/proc/self/mem", TAR);
        let outcome = judge(&ArchiveName::parse(TAR).unwrap(), &reading, &output, None);
        let Outcome::Bad { finding, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(finding.code.name, "archive-unreadable");
        assert!(finding.words.contains("byte 0"), "{}", finding.words);
    }

    /// Also where the bytes have to be copied, and although `tar` ends at once.
    #[rstest::rstest]
    #[case::spliced(READER)]
    #[case::copied(&READER.replace("syscall.ph", "no-such.ph"))]
    fn the_sum_is_that_of_every_byte(#[case] reader: &str) {
        let bytes: Vec<u8> =
            (0..5_000_001_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let (reading, _) = read_by(reader, file.path().to_str().unwrap(), TAR);
        assert_eq!(reading.read, 5_000_001);
        assert_eq!(reading.sha256, Some(restore_common::ledger::hex(&Sha256::digest(&bytes))));
        assert_eq!(reading.status.map(|[read, _, _]| read), Some(0));
    }

    #[test]
    fn a_file_that_is_gone_is_not_damaged() {
        let (reading, output) = read("/nowhere/at/all", TAR);
        let outcome = judge(&ArchiveName::parse(TAR).unwrap(), &reading, &output, None);
        assert!(matches!(outcome, Outcome::Gone), "{outcome:?}");
    }

    #[test]
    fn what_another_program_prints_is_not_taken_for_our_own_words() {
        let mut reading = Reading::default();
        reading.hear("out sha256 0000");
        assert_eq!((reading.sha256, reading.said.as_str()), (None, "sha256 0000\n"));
    }
}
