//! Whatever a node, a file or a server calls things: plans and reports drive no terminal, and forge no line.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};
use restore_common::{
    cli::json_text,
    procedure::{
        Check, CheckResult, CheckStatus, Exit, Kept, Plan, Problem, Question, Report, Step, StepRecord,
        StepStatus, Undo, one_line, plan_text, problems_text,
    },
    remote::{Command, Effect},
};

/// A line of its own that no text from elsewhere may become.
const FORGED: &str = "done and proven";

/// What acts in a terminal, ends a line, or is expanded, and plain text; seldom very long.
fn words() -> impl Strategy<Value = String> {
    let attack = prop::sample::select(vec![
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "\u{9b}31m\u{9d}0;owned\u{9c}",
        "\r\n",
        "\ndone and proven\n",
        "\u{2028}done and proven\u{2029}",
        "\u{202e}gnp\u{2066}\u{feff}\u{200b}",
        "\0\u{8}\u{7f}",
        "'\"`$(touch canary)`${HOME}",
        "\u{1b}",
    ]);
    let plain = vec(any::<char>(), 0..6).prop_map(|chars| chars.into_iter().collect::<String>());
    let parts = vec(prop_oneof![attack.prop_map(str::to_owned), plain], 0..4);
    (parts, prop::bool::weighted(0.05)).prop_map(|(parts, long)| {
        let text = parts.concat();
        if long { text.repeat(1_000) } else { text }
    })
}

#[track_caller]
fn assert_harmless(text: &str) {
    let acts = |c: char| {
        let misleads = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        misleads || (c.is_control() && c != '\n')
    };
    if let Some(at) = text.find(acts) {
        let from = text[..at].char_indices().rev().nth(40).map_or(0, |(at, _)| at);
        panic!("something acts in {:?}", text[from..].chars().take(80).collect::<String>());
    }
    assert!(text.lines().all(|line| line.trim() != FORGED), "a line is forged: {text}");
}

fn step(title: &str, word: &str) -> Step<()> {
    let undo = Undo::By { says: title.to_owned(), run: |(), _| Ok(None) };
    let command = Command::destroy("qm").arg("set").arg(word.replace('\0', ""));
    let step = Step::destroy("step", title, |(), _| Ok(None), undo);
    step.commands([command.clone(), Command::read("cat").pipe(command)]).expected(Some("3 min".to_owned()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn a_plan_is_only_text((title, value, warning) in (words(), words(), words()), names in vec(words(), 1..4)) {
        let check = |name: &String| Check::<()> {
            id: "check",
            title: name.clone(),
            run: Box::new(|(), _| Ok((CheckStatus::Passed, String::new()))),
        };
        let plan = Plan {
            title,
            facts: vec![("guest".to_owned(), value)],
            details: Vec::new(),
            warnings: vec![warning],
            steps: names.iter().map(|name| step(name, name)).collect(),
            checks: names.iter().map(check).collect(),
            question: Question::YesNo("go on?".to_owned()),
            subject: serde_json::Value::Null,
            next: Vec::new(),
        };
        assert_harmless(&plan_text(&plan, true));
        assert_harmless(&problems_text(&[Problem::new(plan.title.as_str()).hint(plan.warnings[0].as_str())]));
    }

    #[test]
    fn a_report_is_only_text_and_its_json_means_the_same(
        (title, state, note) in (words(), words(), option::of(words())),
        names in vec(words(), 1..4),
    ) {
        let step = |name: &String| StepRecord {
            id: "step",
            title: name.clone(),
            effect: Effect::Write,
            commands: vec![name.clone()],
            status: StepStatus::Failed,
            seconds: Some(1.5),
            note: note.clone(),
        };
        let check = |name: &String| CheckResult {
            id: "check".to_owned(),
            title: name.clone(),
            status: CheckStatus::Failed,
            saw: name.clone(),
            seconds: Duration::from_millis(1500).as_secs_f64(),
        };
        let kept = |name: &String| Kept {
            what: name.clone(),
            place: name.clone(),
            go_back: note.clone(),
            remove: name.clone(),
        };
        let report = Report {
            schema: 1,
            program: "restore-vm".to_owned(),
            version: "0".to_owned(),
            title,
            outcome: Exit::ActNeeded,
            exit: 3,
            dry_run: false,
            state,
            subject: serde_json::json!({ "guest": names.clone() }),
            warnings: names.clone(),
            problems: names.iter().map(|name| Problem::new(name.as_str()).hint(name.as_str())).collect(),
            steps: names.iter().map(step).collect(),
            checks: names.iter().map(check).collect(),
            error: None,
            undo_errors: Vec::new(),
            kept: names.iter().map(kept).collect(),
            next: names,
            seconds: 1.0,
        };
        assert_harmless(&report.text());
        assert_harmless(&one_line(&report));
        let text = json_text(&report).unwrap();
        assert_harmless(&text);
        let again: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(again, serde_json::to_value(&report).unwrap());
    }
}
