//! Every seed, and some thousand mutations of them, in every run of the tests; the same ones each time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use restore_fuzzing::{Memory, TARGETS, Target};
use rstest::rstest;

/// Mutations of each target's corpus.
const MUTATIONS: usize = 3000;

/// What takes longer hangs: milliseconds are usual, on a machine that does nothing else.
const HANGS: Duration = Duration::from_secs(60);

/// The memory of the process is looked at, so one target is tried at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The seeds of a target, in the same order every time.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seed in {}", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What a mutation changes has to be reached: the seed is read, up to findings of many kinds.
#[test]
fn the_seed_of_a_node_is_a_whole_look() {
    let report = restore_fuzzing::report_of(&corpus("look").pop().unwrap()).unwrap();
    let mut codes: Vec<_> = report.all_findings().map(|finding| finding.code.name).collect();
    codes.sort_unstable();
    codes.dedup();
    for code in [
        "archive-header",
        "archive-missing",
        "archive-size-differs",
        "backup-failed",
        "backup-log-error",
        "backup-unfinished",
        "disk-not-backed-up",
        "file-foreign",
        "guest-left-by-restore",
        "job-failed",
        "storage-disabled",
        "storage-nearly-full",
    ] {
        assert!(codes.contains(&code), "{code} is not in {codes:?}");
    }
}

/// What is written, and what is removed, while the node is looked at.
#[test]
fn nothing_is_left_or_missing_while_a_backup_runs() {
    let seed = String::from_utf8(corpus("look").pop().unwrap()).unwrap();
    // A job of several guests instead of a backup of one.
    let [one, several] = [r#""type":"vzdump","id":"103""#, r#""type":"vzdump","id":"""#];
    assert!(seed.contains(one), "no backup runs in it");
    // It is listed, and its file is gone when the folder is looked at.
    let listed = "local:backup/vzdump-qemu-101-2026_01_30-01_00_04.vma.zst";
    let seed = seed.replacen(listed, &listed.replace("01_30", "01_28"), 1);
    let found = |look: &str| {
        let report = restore_fuzzing::report_of(look.as_bytes()).unwrap();
        let all = report.all_findings().map(|finding| (finding.code.name, finding.words.clone()));
        all.filter(|(code, _)| ["archive-missing", "backup-unfinished"].contains(code)).collect::<Vec<_>>()
    };
    assert!(found(&seed).iter().any(|(_, words)| words.contains("is listed")), "{:?}", found(&seed));
    assert_eq!(found(&seed.replace(one, several)), []);
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end.max(1)
    }
}

/// What readers of numbers, of texts and of nested things stumble over.
const ODD: [&[u8]; 20] = [
    b"",
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\0\0\0\0\0\0\0",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"9223372036854775807",
    b"1e400",
    b"-1",
    b"{",
    b"}",
    b"[[[[[[[[",
    b"\"",
    b"\\u",
    b"${",
    b"null",
    b"\n",
    b"&#0;",
    b"\xc3\xa9",
];

/// One of many small changes.
fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    let end = at + dice.below((bytes.len() - at).min(64) + 1);
    match dice.below(7) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        2 if at < bytes.len() => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
        3 => bytes.truncate(at),
        4 => {
            let odd = ODD[dice.below(ODD.len())];
            bytes.splice(at..end, odd.iter().copied());
        }
        5 => {
            let piece = bytes[at..end].repeat(1 + dice.below(8));
            bytes.splice(at..at, piece);
        }
        _ => {
            let other = &seeds[dice.below(seeds.len())];
            let from = dice.below(other.len() + 1);
            bytes.splice(at.., other[from..].iter().copied());
        }
    }
}

/// Reads all inputs on a thread of its own, which is waited for as long as it goes on.
fn read_all(target: Target, inputs: Vec<Vec<u8>>) {
    let (done, waiting) = mpsc::channel();
    let reader = thread::spawn(move || {
        for (number, input) in inputs.into_iter().enumerate() {
            (target.read)(&input);
            done.send(number).unwrap();
        }
    });
    let mut last = None;
    loop {
        match waiting.recv_timeout(HANGS) {
            Ok(number) => last = Some(number),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{}: it hangs after input {last:?}", target.name),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    assert!(reader.join().is_ok(), "{}: it panics after input {last:?}", target.name);
}

#[rstest]
fn no_input_ends_a_reader_or_takes_it_long_or_much(
    #[values("vma", "tar", "zstd", "gzip", "lzop", "tfvars", "state", "s3", "pve", "look")] name: &str,
) {
    let target = *TARGETS.iter().find(|target| target.name == name).unwrap();
    // From before the inputs are made: the memory is that of the whole process, and they are a part of it.
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seeds = corpus(name);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut inputs = seeds.clone();
    for _ in 0..MUTATIONS {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(4) {
            mutate(&mut bytes, &seeds, &mut dice);
        }
        inputs.push(bytes);
    }
    let memory = Memory::now();
    read_all(target, inputs);
    memory.assert_small(name);
    drop(alone);
}
