//! The plan and the report as text: calm, right at 80 columns, readable without colour.

use std::fmt::Write as _;

use console::style;

use super::{
    CheckResult, CheckStatus, Exit, Kept, Past, Plan, Problem, Question, Recovery, Report, StepRecord,
    StepStatus, Undo, report::ReportedError,
};
use crate::ui::{format, sanitize};

const WIDTH: usize = 80;

/// The summary of a plan, for programs that show several plans before one question.
pub fn plan_text<C>(of: &Plan<C>, dry_run: bool) -> String {
    plan(of, dry_run)
}

/// Everything that speaks against some work, with what to do about it.
pub fn problems_text(problems: &[Problem]) -> String {
    let mut text = String::new();
    show_problems(&mut text, problems);
    text
}

/// How a run ended, in a line.
pub fn one_line(report: &Report) -> String {
    report.headline()
}

/// The summary before the question. It goes to standard error.
pub(super) fn plan<C>(plan: &Plan<C>, dry_run: bool) -> String {
    let mut text = String::new();
    line(&mut text, &style(sanitize(&plan.title)).for_stderr().bold().to_string());
    text.push('\n');
    text.push_str(&facts_text(&plan.facts));
    for detail in plan.details.iter().filter(|d| !d.is_empty()) {
        text.push('\n');
        detail.lines().for_each(|row| line(&mut text, &format!("  {row}")));
    }
    for warning in &plan.warnings {
        text.push('\n');
        let mark = style("!").for_stderr().yellow().bold().to_string();
        wrapped(&mut text, &format!("  {mark} "), 4, &sanitize(warning));
    }
    text.push_str("\nSteps\n");
    plan.steps.iter().enumerate().for_each(|(index, step)| show_step(&mut text, index + 1, step));
    if !plan.checks.is_empty() {
        text.push_str("\nChecks afterwards\n");
        plan.checks.iter().for_each(|check| wrapped(&mut text, "  - ", 4, &sanitize(&check.title)));
    }
    show_ways_back(&mut text, plan, "If a step fails");
    if dry_run {
        text.push_str("\nThis is a dry run: nothing will be changed.\n");
    } else if let Question::Type { .. } = plan.question {
        text.push('\n');
    }
    text
}

/// The summary before a run that was cut off is carried on.
pub(super) fn recovery<C>(plan: &Plan<C>, past: &Past, how: Recovery, dry_run: bool) -> String {
    let mut text = String::new();
    line(&mut text, &style(sanitize(&plan.title)).for_stderr().bold().to_string());
    text.push('\n');
    wrapped(&mut text, "  ", 2, &sanitize(&format!("begun by {}", past.begun().owner)));
    match past.stopped_at() {
        Some((number, title)) => {
            let of = plan.steps.len();
            wrapped(&mut text, "  ", 2, &sanitize(&format!("cut off in step {number} of {of}: {title}")));
        }
        None => line(&mut text, "  cut off before its first step"),
    }
    let rest = |step: &&super::Step<C>| past.step(step.id).is_none_or(|before| !before.done);
    match how {
        Recovery::Resume => {
            text.push_str("\nSteps that are left\n");
            for (index, step) in plan.steps.iter().enumerate().filter(|(_, step)| rest(step)) {
                show_step(&mut text, index + 1, step);
            }
        }
        Recovery::RollBack => show_ways_back(&mut text, plan, "What is taken back"),
    }
    if dry_run {
        text.push_str("\nThis is a dry run: nothing will be changed.\n");
    }
    text
}

/// Pairs of a label and a value, as they stand on top of a plan.
pub fn facts_text(facts: &[(String, String)]) -> String {
    let label = facts.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    facts.iter().fold(String::new(), |mut text, (name, value)| {
        wrapped(&mut text, &format!("  {name:label$}  "), label + 4, &sanitize(value));
        text
    })
}

fn show_step<C>(text: &mut String, number: usize, step: &super::Step<C>) {
    let expected = step.expected.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
    let mark = match step.effect {
        crate::remote::Effect::Destroy => style(" [destroys]").for_stderr().red().bold().to_string(),
        _ => String::new(),
    };
    wrapped(text, &format!("  {number}. "), 5, &format!("{}{expected}{mark}", sanitize(&step.title)));
    for command in &step.commands {
        for part in broken(&sanitize(&command.to_string())) {
            line(text, &format!("       {}", style(part).for_stderr().dim()));
        }
    }
}

fn show_ways_back<C>(text: &mut String, plan: &Plan<C>, headline: &str) {
    let mut ways = Vec::new();
    for step in plan.steps.iter().rev() {
        match &step.undo {
            Undo::By { says, .. } => ways.push(says.clone()),
            Undo::Impossible(reason) => ways.push(format!("`{}` cannot be taken back: {reason}", step.title)),
            Undo::NotNeeded(_) => {}
        }
    }
    if !ways.is_empty() {
        line(text, &format!("\n{headline}"));
        for way in &ways {
            wrapped(text, "  - ", 4, &sanitize(way));
        }
    }
}

fn line(text: &mut String, content: &str) {
    text.push_str(content.trim_end());
    text.push('\n');
}

/// Adds `content` after `lead`, its further lines indented, none longer than the terminal where words allow.
pub(super) fn wrapped(text: &mut String, lead: &str, indent: usize, content: &str) {
    let mut row = lead.to_owned();
    let mut fresh = true;
    for word in content.split(' ') {
        let length = console::measure_text_width(&row) + console::measure_text_width(word);
        if !fresh && length + 1 > WIDTH {
            line(text, &row);
            row = " ".repeat(indent);
            fresh = true;
        }
        if !fresh {
            row.push(' ');
        }
        row.push_str(word);
        fresh = false;
    }
    line(text, &row);
}

/// A long command as a shell takes it over several lines.
fn broken(command: &str) -> Vec<String> {
    const ROOM: usize = WIDTH - 12;
    let mut lines = Vec::new();
    let mut row = String::new();
    for word in words(command) {
        if !row.is_empty() && row.len() + 1 + word.len() > ROOM {
            lines.push(format!("{row} \\"));
            "  ".clone_into(&mut row);
        } else if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    lines.push(row);
    lines
}

/// The words of a quoted command; a quoted part with blanks stays whole.
fn words(command: &str) -> Vec<&str> {
    let (mut words, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, c) in command.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => {
                words.push(&command[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    words.push(&command[start..]);
    words
}

impl Report {
    /// The report for people. It goes to standard output.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let title = style(sanitize(&self.title)).bold();
        wrapped(&mut text, "", 2, &format!("{title}: {}", self.headline()));
        if let Some(error) = &self.error {
            text.push('\n');
            show_error(&mut text, error);
        }
        show_problems(&mut text, &self.problems);
        if self.steps.iter().any(|s| s.status != StepStatus::Planned) {
            text.push('\n');
            self.steps.iter().for_each(|step| line(&mut text, &step_line(step)));
        }
        if !self.undo_errors.is_empty() {
            text.push_str("\nWhat could not be put back\n");
            self.undo_errors.iter().for_each(|error| show_error(&mut text, error));
        }
        if !self.checks.is_empty() {
            text.push_str("\nChecks\n");
            self.checks.iter().for_each(|check| show_check(&mut text, check));
        }
        self.kept.iter().for_each(|kept| show_kept(&mut text, kept));
        if !self.next.is_empty() {
            text.push_str("\nNext\n");
            self.next.iter().for_each(|next| wrapped(&mut text, "  - ", 4, &sanitize(next)));
        }
        text
    }

    fn headline(&self) -> String {
        let words = sanitize(&self.state).into_owned();
        let took = if self.seconds > 0.0 {
            format!(" in {}", format::duration(std::time::Duration::from_secs_f64(self.seconds)))
        } else {
            String::new()
        };
        match self.outcome {
            Exit::Done => format!("{}{took}", style(words).green()),
            Exit::Interrupted => format!("{}: {words}{took}", style("interrupted").yellow()),
            Exit::CheckFailed | Exit::RolledBack => format!("{}{took}", style(words).yellow()),
            Exit::NothingChanged | Exit::ActNeeded | Exit::Usage => format!("{}{took}", style(words).red()),
        }
    }
}

fn show_error(text: &mut String, error: &ReportedError) {
    let mark = style("error:").red().bold().to_string();
    wrapped(text, &format!("{mark} "), 7, &sanitize(&error.message));
    error.causes.iter().for_each(|cause| wrapped(text, "  cause: ", 9, &sanitize(cause)));
    error.hint.iter().for_each(|hint| wrapped(text, "  hint: ", 8, &sanitize(hint)));
}

fn show_problems(text: &mut String, problems: &[Problem]) {
    if problems.is_empty() {
        return;
    }
    text.push('\n');
    for problem in problems {
        let mark = style("error:").red().bold().to_string();
        wrapped(text, &format!("{mark} "), 7, &sanitize(&problem.what));
        problem.hint.iter().for_each(|hint| wrapped(text, "  hint: ", 8, &sanitize(hint)));
    }
}

fn step_line(step: &StepRecord) -> String {
    let mark = match step.status {
        StepStatus::Done => style("done").green(),
        StepStatus::Failed => style("failed").red(),
        StepStatus::Undone => style("undone").yellow(),
        StepStatus::UndoFailed => style("not undone").red().bold(),
        StepStatus::Planned => style("not reached").dim(),
    };
    let took =
        step.seconds.map(|s| format::duration(std::time::Duration::from_secs_f64(s))).unwrap_or_default();
    let title = sanitize(&step.title);
    let title = console::truncate_str(&title, 54, "…");
    format!("  {title:<54}  {mark:<11}  {took:>7}")
}

fn show_check(text: &mut String, check: &CheckResult) {
    let mark = match check.status {
        CheckStatus::Passed => style("passed").green(),
        CheckStatus::Failed => style("FAILED").red().bold(),
        CheckStatus::Skipped => style("skipped").yellow(),
    };
    let took = match check.status {
        CheckStatus::Skipped => String::new(),
        _ => format!(" ({})", format::duration(std::time::Duration::from_secs_f64(check.seconds))),
    };
    let content = format!("{}: {}{took}", sanitize(&check.title), sanitize(&check.saw));
    wrapped(text, &format!("  {mark:<7}  "), 11, &content);
}

fn show_kept(text: &mut String, kept: &Kept) {
    _ = write!(text, "\nKept: {}\n", sanitize(&kept.what));
    line(text, &format!("  {}", sanitize(&kept.place)));
    for (label, command) in [("go back", kept.go_back.as_ref()), ("remove", Some(&kept.remove))] {
        let Some(command) = command else { continue };
        for (index, part) in broken(&sanitize(command)).into_iter().enumerate() {
            let label = if index == 0 { format!("{label}:") } else { String::new() };
            line(text, &format!("  {label:<8}  {part}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_broken_where_a_shell_takes_it() {
        let command = "vzdump 101 --storage local --mode snapshot --compress zstd --remove 0 --protected 1 \
                       --notes-template 'a quoted part'";
        let lines = broken(command);
        assert!(lines.len() > 1 && lines.iter().all(|l| l.len() <= 70), "{lines:?}");
        assert!(lines[..lines.len() - 1].iter().all(|l| l.ends_with(" \\")));
        assert!(lines.last().unwrap().ends_with("'a quoted part'"));
    }

    #[test]
    fn text_is_wrapped_between_words() {
        let mut text = String::new();
        wrapped(&mut text, "  - ", 4, &"word ".repeat(40));
        assert!(text.lines().count() > 2 && text.lines().all(|l| l.len() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|l| l.starts_with("    word")));
    }
}
