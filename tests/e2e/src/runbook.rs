//! A runbook that is run: the marked commands of a document, and what it says they print.
//!
//! A step is a fenced block behind a line `<!-- step: NAME -->`. Its first line is `$ ` and the command, the rest what that printed.

use std::{
    fmt::Write as _,
    io,
    path::Path,
    process::{Command, Stdio},
};

const FENCE: &str = "```console\n";

/// A command of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What is typed.
    pub command: String,
    /// What the document says it prints.
    pub printed: String,
}

/// The steps of a document, in order.
pub fn steps(page: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for part in page.split("<!-- step: ").skip(1) {
        let (name, rest) = part.split_once(" -->\n").ok_or("a mark does not end")?;
        let block = rest.strip_prefix(FENCE).and_then(|rest| rest.split_once("```\n"));
        let (block, _) = block.ok_or_else(|| format!("no block behind the mark of `{name}`"))?;
        let (first, printed) = block.split_once('\n').unwrap_or((block, ""));
        let command = first.strip_prefix("$ ").ok_or_else(|| format!("`{name}` begins with no command"))?;
        steps.push(Step { name: name.to_owned(), command: command.to_owned(), printed: printed.to_owned() });
    }
    Ok(steps)
}

/// The document with what a step printed this time.
pub fn with_printed(page: &str, step: &Step, printed: &str) -> String {
    let block = |printed: &str| {
        let Step { name, command, .. } = step;
        format!("<!-- step: {name} -->\n{FENCE}$ {command}\n{printed}```\n")
    };
    page.replace(&block(&step.printed), &block(printed))
}

/// Runs a step's command in a shell with the operator's environment, as `operator` has it, where the programs are in the
/// path. Gives its exit code and all that it printed.
pub fn run(step: &Step, operator: &Command, programs: &Path) -> io::Result<(i32, String)> {
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("exec 2>&1\n{}", step.command)]).env_clear().stdin(Stdio::null());
    for (name, value) in operator.get_envs() {
        match (name.to_str(), value) {
            (Some("PATH"), Some(path)) => {
                let mut with_programs = programs.as_os_str().to_owned();
                with_programs.push(":");
                with_programs.push(path);
                shell.env("PATH", with_programs);
            }
            (_, Some(value)) => {
                shell.env(name, value);
            }
            _ => {}
        }
    }
    if let Some(folder) = operator.get_current_dir() {
        shell.current_dir(folder);
    }
    let output = shell.output()?;
    let code = output.status.code().unwrap_or(256);
    Ok((code, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// What may stand behind a number that is another one in each run.
const UNITS: [&str; 11] = ["s", "min", "h", "d", "B", "KiB", "MiB", "GiB", "day", "days", "ago"];

/// What depends on whether this machine has the program `ping`.
fn is_of_the_machine(line: &str) -> bool {
    line.contains(" answers to ping")
}

/// A line of the table of guests. Which of them has which number is up to Terraform, and so is their order.
fn is_row(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|mark| "✓✗!·".contains(mark))
        && words.next().is_some_and(|vmid| vmid.parse::<u32>().is_ok())
}

/// A line in which something was cut to fit: where depends on how long an address is. Its beginning and its end stay.
fn uncut(line: &str) -> String {
    match line.split_once('…') {
        Some((before, after)) => {
            let begin: Vec<_> = before.split_whitespace().take(2).collect();
            format!("{} … {after}", begin.join(" "))
        }
        None => line.to_owned(),
    }
}

/// What two runs of the same command print alike: no numbers, no ids, no line breaks, and durations as one word.
pub fn essence(printed: &str) -> String {
    let kept = printed.lines().filter(|line| !is_of_the_machine(line)).map(uncut);
    let mut lines: Vec<String> = kept.collect();
    for rows in lines.chunk_by_mut(|one, other| is_row(one) && is_row(other)) {
        rows.sort_by_key(|row| row.split_whitespace().nth(2).map(str::to_owned));
    }
    let mut words: Vec<String> = Vec::new();
    for word in lines.join(" ").replace("just now", "0 min ago").split_whitespace() {
        let plain = plain(word);
        // `1 min 02 s` and `3.1 s` are both how long it took.
        let unit = plain.trim_end_matches([',', ')', ':', ';', '.']);
        let is_amount = words.last().is_some_and(|last| last.trim_start_matches('(') == "#");
        if is_amount && UNITS.contains(&unit) {
            let rest = plain[unit.len()..].to_owned();
            if let Some(last) = words.last_mut() {
                last.push_str(&rest);
            }
            continue;
        }
        if plain == "#" && words.last().is_some_and(|last| last == "#") {
            continue;
        }
        words.push(plain);
    }
    words.join(" ")
}

/// A word with every number, and every id in hexadecimal, as `#`.
fn plain(word: &str) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let run = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
        let digits =
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || ".:_".contains(c)).len();
        if run >= 8 && rest[..run].contains(|c: char| c.is_ascii_digit()) {
            text.push('#');
            rest = &rest[run..];
        } else if first.is_ascii_digit() {
            let number = rest[..digits].trim_end_matches(['.', ':', '_']).len();
            text.push('#');
            rest = &rest[number..];
        } else {
            let _ = text.write_char(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "text\n<!-- step: one -->\n```console\n$ a --b\nit took 3.1 s\n```\nmore\n";

    #[test]
    fn a_step_is_read_and_written() {
        let steps = steps(PAGE).unwrap();
        assert_eq!(steps[0].command, "a --b");
        assert_eq!(steps[0].printed, "it took 3.1 s\n");
        assert_eq!(with_printed(PAGE, &steps[0], "x\n"), PAGE.replace("it took 3.1 s\n", "x\n"));
    }

    #[test]
    fn what_differs_between_two_runs_is_no_difference_and_anything_else_is() {
        let one = "3b26e4fa 2026-11-24 02:02:17 127.0.0.1:46751 took 1 min 02 s (0.1 s), 405.1 KiB";
        let other = "574040ca 2026-11-25 03:02:17 127.1.2.3:80 took\n  3.1 s (12 s), 1.2 MiB";
        assert_eq!(essence(one), essence(other));
        let one =
            "  Wait until 127.1.1.1 s…  done  0.1 s\n  skipped  1.1.1.1 answers to ping: no\nmade just now";
        let other = "  Wait until 127.137.169.5…  done  3 s\n  passed  1.1.1.1 answers to ping: it does\nmade 12 min ago";
        assert_eq!(essence(one), essence(other));
        let (one, other) = ("✓ 100 a 1 KiB ok\n✓ 103 b 2 KiB ok\n", "✓ 100 b 2 KiB ok\n✓ 103 a 1 KiB ok\n");
        assert_eq!(essence(one), essence(other));
        assert_ne!(essence("passed VM 101 runs"), essence("failed VM 101 runs"));
        assert_ne!(essence("3 errors"), essence("no errors"));
    }

    #[test]
    fn a_mark_without_a_command_is_an_error() {
        assert!(steps("<!-- step: one -->\ntext\n").is_err());
        assert!(steps("<!-- step: one -->\n```console\na\n```\n").is_err());
    }
}
