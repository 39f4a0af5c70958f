//! Whatever a node calls its guests and files, and whatever it says of them: no format of the report breaks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end that way")]

use std::{collections::BTreeSet, str::FromStr as _, time::Duration};

use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*};
use restore_common::{
    ledger::{Drilled, Proof},
    pve::{GuestKind, Vmid},
};
use verify_backups::{
    codes,
    finding::Finding,
    report::{
        self, ArchivePart, BucketPart, DrillPart, GuestPart, Level, NodePart, ReadyPart, Report, Verified,
        VersionPart,
    },
};

/// What breaks out of a quotation, an element or a line somewhere, and plain text.
fn words() -> impl Strategy<Value = String> {
    let attack = prop::sample::select(vec![
        "</svg><script>alert(1)</script>",
        "</style></title></details>",
        "\" onload=\"x",
        "' onload='x",
        "\"} 1\npve_backup_node_reached{node=\"",
        "\\",
        "{{evil}}",
        "\u{1b}[31m\u{9b}2J",
        "\r\n# HELP x y",
        "&lt;",
        "<!--",
        "]]>",
        "\u{202e}gnp",
        "\u{2028}\u{feff}\u{200b}",
        "\0",
    ]);
    let plain = vec(any::<char>(), 0..6).prop_map(|chars| chars.into_iter().collect::<String>());
    vec(prop_oneof![attack.prop_map(str::to_owned), plain], 0..4).prop_map(|parts| parts.concat())
}

fn findings() -> impl Strategy<Value = Vec<Finding>> {
    let all: Vec<_> = codes::all().collect();
    vec((prop::sample::select(all), words()).prop_map(|(code, words)| Finding::new(code, words)), 0..4)
}

/// Times and sizes as a listing may have them, the absurd ones too.
fn archive() -> impl Strategy<Value = ArchivePart> {
    let ctime = prop_oneof![1_700_000_000..1_800_000_000_i64, any::<i64>()];
    let size = prop_oneof![0..1_u64 << 40, any::<u64>()];
    let verified = option::of((0..2_000_000_000_i64, any::<bool>()).prop_map(|(second, now)| Verified {
        when: Timestamp::from_second(second).unwrap(),
        sha256: "0f".repeat(32),
        now,
    }));
    (words(), option::of(words()), ctime, size, vec(words(), 0..2), verified, findings()).prop_map(
        |(id, path, ctime, size, also_on, verified, findings)| ArchivePart {
            id,
            path,
            name: None,
            ctime,
            mtime: None,
            size,
            also_on,
            verified,
            findings,
        },
    )
}

fn drill() -> impl Strategy<Value = DrillPart> {
    let proof = prop_oneof![Just(Proof::Proven), Just(Proof::Started), Just(Proof::Failed)];
    let texts = (words(), option::of(words()));
    // Whole seconds: the reader of JSON is not exact with parts of many.
    let took = || (0..1_u64 << 50).prop_map(|seconds| seconds * 1000);
    let times = (any::<i64>(), option::of(took()), took());
    (texts, proof, times, any::<bool>()).prop_map(
        |((archive, words), proof, (ctime, restore_ms, took_ms), now)| {
            let when = Timestamp::UNIX_EPOCH;
            let (code, by) = (None, String::new());
            let entry = Drilled {
                archive,
                ctime,
                when,
                proof,
                code,
                words,
                restore_ms,
                boot_ms: restore_ms,
                took_ms,
                by,
            };
            DrillPart { entry, now }
        },
    )
}

fn guest(vmid: u32) -> impl Strategy<Value = GuestPart> {
    let kind = prop_oneof![Just(GuestKind::Qemu), Just(GuestKind::Lxc)];
    (option::of(words()), kind, any::<bool>(), findings(), vec(archive(), 0..4), option::of(drill()))
        .prop_map(move |(name, kind, present, findings, archives, drill)| GuestPart {
            vmid: Vmid::from_str(&vmid.to_string()).unwrap(),
            name,
            kind,
            present,
            findings,
            archives,
            drill,
        })
}

fn node(number: usize) -> impl Strategy<Value = NodePart> {
    let guests = (guest(101), guest(102)).prop_map(|(a, b)| vec![a, b]);
    (words(), words(), any::<bool>(), findings(), guests, vec(archive(), 0..2)).prop_map(
        move |(label, environment, reached, findings, guests, others)| NodePart {
            label: format!("{number}{label}"),
            environment,
            reached,
            findings,
            guests,
            others,
        },
    )
}

fn bucket() -> impl Strategy<Value = BucketPart> {
    let version = (words(), any::<i64>(), any::<u64>(), option::of(any::<u64>()), words(), findings());
    let version = version.prop_map(|(id, written, size, serial, lineage, findings)| VersionPart {
        id,
        written,
        size,
        serial,
        lineage: Some(lineage),
        current: serial.is_some(),
        findings,
    });
    (words(), words(), vec(version, 0..3), findings()).prop_map(|(environment, place, versions, findings)| {
        BucketPart { environment, place, versions, findings }
    })
}

fn any_report() -> impl Strategy<Value = Report> {
    let nodes = (node(0), node(1)).prop_map(|(a, b)| vec![a, b]);
    let ready = (words(), words(), findings()).prop_map(|(about, seen, findings)| ReadyPart {
        check: "state",
        about,
        seen,
        findings,
    });
    let parts = (nodes, vec(bucket(), 0..2), vec(ready, 0..3), 0..10_000_000_u64);
    parts.prop_map(|(nodes, buckets, ready, took)| Report {
        services: Vec::new(),
        error: None,
        began: Timestamp::from_second(1_770_000_000).unwrap(),
        took: Duration::from_millis(took),
        level: Level::Deep,
        nodes,
        buckets,
        ready,
    })
}

/// A label's value is what it was, but for control characters; returns what stands after the closing quotation mark.
fn label_value(text: &str) -> &str {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return &text[at + 1..],
            '\\' => assert!(matches!(chars.next(), Some((_, '\\' | '"' | 'n'))), "escape in {text:?}"),
            c => assert!(!c.is_control(), "control character in {text:?}"),
        }
    }
    panic!("no end: {text:?}")
}

/// The name and the labels of a sample, which no other sample may have.
fn sample(line: &str) -> &str {
    let name = line.find(['{', ' ']).unwrap();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    assert!(line[..name].chars().all(is_name), "{line:?}");
    let mut rest = &line[name..];
    if let Some(labels) = rest.strip_prefix('{') {
        rest = labels;
        loop {
            let (key, value) = rest.split_once("=\"").unwrap();
            assert!(key.chars().all(is_name), "{line:?}");
            rest = label_value(value);
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap();
    }
    let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
    assert!(value.is_finite(), "{line:?}");
    &line[..line.len() - rest.len()]
}

fn assert_metrics(text: &str) {
    assert!(text.ends_with('\n'));
    let mut seen = BTreeSet::new();
    for line in text.split_terminator('\n').filter(|line| !line.starts_with("# HELP pve_")) {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            assert!(about.starts_with("pve_") && about.ends_with(" gauge"), "{line:?}");
        } else {
            assert!(seen.insert(sample(line)), "twice: {line:?}");
        }
    }
}

/// Stricter than a browser: only elements and attributes that the page is made of, all of them closed in order.
fn assert_page(page: &str) {
    const VOID: [&str; 3] = ["meta", "br", "line"];
    const ELEMENTS: &str = "html head meta title style body main h1 h2 h3 p dl div dt dd ul li code br strong span \
                            section details summary svg line rect table tr th td";
    let body = page.strip_prefix("<!doctype html>\n").unwrap();
    let mut open: Vec<&str> = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        let (text, tail) = rest.split_at(at);
        let bare = open.last() != Some(&"style") && text.contains(['>', '"', '\'']);
        assert!(!bare, "not escaped: {text:?}");
        for after in text.split('&').skip(1) {
            let entity = after.split_once(';').map(|(entity, _)| entity);
            assert!(matches!(entity, Some("amp" | "lt" | "gt" | "quot" | "#39")), "bare & before {after:?}");
        }
        let visible = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
        assert!(text.chars().all(visible), "control character in {text:?}");
        let misleads = |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}');
        assert!(!text.contains(misleads), "shown text differs from what it is: {text:?}");
        let (tag, after) = tail[1..].split_once('>').unwrap();
        rest = after;
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "at {tail:.80}");
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(ELEMENTS.split_whitespace().any(|known| known == name), "<{tag}>");
        assert_attributes(attributes);
        if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

/// Nothing but attributes that the page is made of, each in quotation marks.
fn assert_attributes(attributes: &str) {
    const KNOWN: &str = "lang charset http-equiv content name class viewBox preserveAspectRatio role aria-label x y x1 \
                         y1 x2 y2 width height";
    let mut rest = attributes.trim_end_matches('/');
    while !rest.is_empty() {
        let (key, value) = rest.split_once("=\"").unwrap();
        assert!(KNOWN.split_whitespace().any(|known| known == key.trim_start()), "{attributes:?}");
        rest = value.split_once('"').unwrap().1;
    }
}

fn assert_holds(report: &Report) {
    let json = report::json(report, report.exit_code());
    let name = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let text = serde_json::to_string(&json).unwrap();
    let again: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(again["nodes"], json["nodes"]);
    assert_eq!(name(&json["nodes"][0]["guests"][0]["name"]), report.nodes[0].guests[0].name);
    assert_metrics(&report::metrics(report, report.exit_code()));
    assert_page(&report::page(report));
    let shown = report::text(report, 80, true);
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn no_format_breaks(report in any_report()) {
        assert_holds(&report);
    }
}
