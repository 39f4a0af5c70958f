//! A node that lies: it tells less than a command printed, nothing, something else, or another command's answer. Every
//! program ends soon, in words, and changes nothing that it was not sure about.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fmt,
    time::{Duration, Instant},
};

use restore_e2e::{Ran, run};
use restore_lab::lab::{Checkpoint, Lab, LabBuilder};

/// A lie is found out, or believed, but not pondered over.
const SOON: Duration = Duration::from_secs(60);

/// How long the token between two answers of a batch is.
const TOKEN: usize = 32;

/// What is told instead of what was printed.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Nothing,
    /// So many hundredths of it.
    Part(usize),
    /// All but the last byte.
    AllButOne,
    /// Every answer is this, in its frame.
    Always(&'static str),
    /// Each command of a batch gets the answer of the next one.
    Mixed,
    /// Every digit is another one.
    OtherNumbers,
    /// Every closed list and object is open, every name is wrong, and there is more behind the end.
    Garbage,
}

const LIES: [Lie; 12] = [
    Lie::Nothing,
    Lie::Part(1),
    Lie::Part(33),
    Lie::Part(66),
    Lie::Part(97),
    Lie::AllButOne,
    Lie::Always(""),
    Lie::Always("null"),
    Lie::Always(
        "[{\"vmid\":\"\\u001b[2J\",\"volid\":\"local:backup/\\u202e$(id)\",\"size\":-1,\"ctime\":1e400}]",
    ),
    Lie::Mixed,
    Lie::OtherNumbers,
    Lie::Garbage,
];

impl Lie {
    fn told_of(self, printed: &[u8]) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Part(hundredths) => printed[..printed.len() * hundredths / 100].to_vec(),
            Self::AllButOne => printed[..printed.len().saturating_sub(1)].to_vec(),
            Self::Always(answer) => framed(printed, |_, _| answer.as_bytes().to_vec()),
            Self::Mixed => framed(printed, |all, at| all[(at + 1) % all.len()].to_vec()),
            Self::OtherNumbers => framed(printed, |all, at| {
                all[at]
                    .iter()
                    .map(|c| if c.is_ascii_digit() { b'0' + (c - b'0' + 7) % 10 } else { *c })
                    .collect()
            }),
            Self::Garbage => framed(printed, |all, at| {
                let text =
                    String::from_utf8_lossy(all[at]).replace(['}', ']'], "\u{9b}2J").replace('"', "'\0");
                [text.as_bytes(), b"\xff\xfe]}\n\x1b[31m"].concat()
            }),
        }
    }
}

/// The answers of a batch with others in their frames. What is no batch is one answer.
fn framed(printed: &[u8], other: impl Fn(&[&[u8]], usize) -> Vec<u8>) -> Vec<u8> {
    let parts = parts(printed);
    let answers: Vec<&[u8]> = parts.iter().map(|(answer, _)| *answer).collect();
    let lie = |(at, (_, rest)): (usize, &(&[u8], &[u8]))| [other(&answers, at), rest.to_vec()].concat();
    parts.iter().enumerate().flat_map(lie).collect()
}

/// Each answer, and the frame behind it: `TOKEN STATUS`, standard error, `TOKEN`.
fn parts(printed: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut parts = Vec::new();
    let mut rest = printed;
    while let Some(at) = rest
        .windows(TOKEN + 1)
        .position(|window| window[..TOKEN].iter().all(u8::is_ascii_hexdigit) && window[TOKEN] == b' ')
    {
        let end = [&rest[at..at + TOKEN], b"\n"].concat();
        let Some(frame) = rest[at..].windows(end.len()).position(|window| window == end) else { break };
        let (part, behind) = rest.split_at(at + frame + end.len());
        parts.push(part.split_at(at));
        rest = behind;
    }
    if parts.is_empty() { vec![(printed, &[][..])] } else { parts }
}

/// A lab, and what it was like before anybody lied.
struct Scene {
    lab: Lab,
    checkpoint: Checkpoint,
}

impl Scene {
    fn start() -> Self {
        let lab = LabBuilder::new().small().start().unwrap();
        let checkpoint = lab.checkpoint().unwrap();
        Self { lab, checkpoint }
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = self.lab.command(words[0]);
        command.args(&words[1..]);
        run(command)
    }

    /// How many remote executions an undisturbed run takes.
    fn executions(&self, words: &[&str]) -> usize {
        let before = self.lab.server().unwrap().executions();
        self.run(words);
        let count = self.lab.server().unwrap().executions() - before;
        assert!(count > 0, "{words:?}");
        count
    }

    /// The run in which the node lies about one execution, or about all of them.
    #[track_caller]
    fn lied_to(&self, words: &[&str], about: Option<usize>, lie: Lie) -> Ran {
        self.lab.go_back(&self.checkpoint).unwrap();
        let is_meant = move |number| about.is_none_or(|about| about == number);
        self.lab.server().unwrap().lie(
            move |number, printed| {
                if is_meant(number) { lie.told_of(&printed) } else { printed }
            },
        );
        let begun = Instant::now();
        let ran = self.run(words);
        let case = Case { words, about, lie };
        assert!(begun.elapsed() < SOON, "{case}: it took {:?}", begun.elapsed());
        assert!([0, 1, 2, 3, 4].contains(&ran.code), "{case}: {ran}");
        assert!(ran.code == 0 || !ran.stdout.is_empty() || !ran.stderr.is_empty(), "{case}: no word");
        ran
    }
}

struct Case<'a> {
    words: &'a [&'a str],
    about: Option<usize>,
    lie: Lie,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with {:?} told of execution {:?}", self.words, self.lie, self.about)
    }
}

#[rstest::rstest]
#[case::list(&["restore-vm", "101", "--list"])]
#[case::dry_run(&["restore-vm", "101", "--dry-run"])]
#[case::quick(&["verify-backups"])]
fn a_look_ends_in_words_and_changes_nothing(#[case] words: &[&str]) {
    let scene = Scene::start();
    let before = scene.lab.inventory().unwrap();
    let abouts = (1..=scene.executions(words)).map(Some).chain([None]);
    for (about, lie) in abouts.flat_map(|about| LIES.map(|lie| (about, lie))) {
        let ran = scene.lied_to(words, about, lie);
        assert_eq!(scene.lab.inventory().unwrap(), before, "{ran}");
    }
}

#[test]
fn a_restore_that_is_lied_to_says_how_it_ended() {
    let scene = Scene::start();
    let words = ["restore-vm", "101", "--force"];
    let executions = scene.executions(&words);
    for (number, lie) in LIES.into_iter().enumerate() {
        // Another execution for each lie, so that in a few runs all of them are lied about.
        for about in (1..=executions).filter(|about| about % LIES.len() == number) {
            let ran = scene.lied_to(&words, Some(about), lie);
            let is_there = scene.lab.read("/etc/pve/qemu-server/101.conf").is_ok();
            assert!(
                is_there || ran.code == 3,
                "the guest is gone, and nobody is told to act: {lie:?} {about} {ran}"
            );
        }
    }
}
