//! Command lines as Docker's own parser takes them.

use std::collections::BTreeMap;

use super::Answer;

/// An option of a command.
pub(super) struct Flag {
    long: &'static str,
    short: Option<char>,
    takes_value: bool,
}

/// An option without a value.
pub(super) const fn switch(long: &'static str, short: Option<char>) -> Flag {
    Flag { long, short, takes_value: false }
}

/// An option with a value.
pub(super) const fn option(long: &'static str, short: Option<char>) -> Flag {
    Flag { long, short, takes_value: true }
}

/// A command line that was accepted.
#[derive(Debug, Default)]
pub(super) struct Line {
    values: BTreeMap<&'static str, Vec<String>>,
    /// What is no option.
    pub(super) arguments: Vec<String>,
}

impl Line {
    /// The last value of an option.
    pub(super) fn value(&self, long: &str) -> Option<&str> {
        self.values(long).last().map(String::as_str)
    }

    /// All values of an option.
    pub(super) fn values(&self, long: &str) -> &[String] {
        self.values.get(long).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, long: &str) -> bool {
        self.value(long).is_some_and(|value| value == "true")
    }
}

/// A command with its options.
pub(super) struct Syntax {
    /// `docker ps`.
    pub(super) command: &'static str,
    /// What follows it in its usage: `[OPTIONS]`.
    pub(super) usage: &'static str,
    pub(super) flags: &'static [Flag],
    /// How few and how many arguments it takes.
    pub(super) arguments: (usize, usize),
}

impl Syntax {
    /// Judges the words after the command.
    pub(super) fn parse(&self, words: &[String]) -> Result<Line, Answer> {
        let mut line = Line::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                line.arguments.extend(words.by_ref().cloned());
            } else if let Some(rest) = word.strip_prefix("--") {
                self.long(rest, &mut words, &mut line)?;
            } else if let Some(cluster) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                self.short(cluster, &mut words, &mut line)?;
            } else {
                line.arguments.push(word.clone());
            }
        }
        self.count(&line)?;
        Ok(line)
    }

    /// Options before the name of a subcommand: gives that and what follows, unparsed.
    pub(super) fn parse_leading<'w>(&self, words: &'w [String]) -> Result<(Line, &'w [String]), Answer> {
        let mut line = Line::default();
        let mut rest = words.iter();
        while let Some(word) = rest.as_slice().first().filter(|word| word.starts_with('-')) {
            rest.next();
            match word.strip_prefix("--") {
                Some(long) => self.long(long, &mut rest, &mut line)?,
                None => self.short(&word[1..], &mut rest, &mut line)?,
            }
        }
        Ok((line, rest.as_slice()))
    }

    fn long<'w>(
        &self,
        word: &str,
        rest: &mut impl Iterator<Item = &'w String>,
        line: &mut Line,
    ) -> Result<(), Answer> {
        let (name, given) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let Some(flag) = self.flags.iter().find(|flag| flag.long == name) else {
            return Err(self.refuse(&format!("unknown flag: --{name}")));
        };
        let value = match (given, flag.takes_value) {
            (Some(value), true) => value.to_owned(),
            (Some(value), false) => self.boolean(flag, value)?,
            (None, false) => "true".to_owned(),
            (None, true) => match rest.next() {
                Some(value) => value.clone(),
                None => return Err(self.refuse(&format!("flag needs an argument: --{name}"))),
            },
        };
        line.values.entry(flag.long).or_default().push(value);
        Ok(())
    }

    fn short<'w>(
        &self,
        cluster: &str,
        rest: &mut impl Iterator<Item = &'w String>,
        line: &mut Line,
    ) -> Result<(), Answer> {
        let mut letters = cluster.chars();
        while let Some(letter) = letters.next() {
            let Some(flag) = self.flags.iter().find(|flag| flag.short == Some(letter)) else {
                let words = format!("unknown shorthand flag: '{letter}' in -{cluster}");
                return Err(self.refuse(&words));
            };
            let attached = letters.as_str();
            let value = match (flag.takes_value, attached.strip_prefix('=')) {
                (true, Some(value)) => value.to_owned(),
                (true, None) if !attached.is_empty() => attached.to_owned(),
                (true, None) => match rest.next() {
                    Some(value) => value.clone(),
                    None => {
                        let words = format!("flag needs an argument: '{letter}' in -{cluster}");
                        return Err(self.refuse(&words));
                    }
                },
                (false, Some(value)) => self.boolean(flag, value)?,
                (false, None) => "true".to_owned(),
            };
            line.values.entry(flag.long).or_default().push(value);
            if flag.takes_value || attached.starts_with('=') {
                break;
            }
        }
        Ok(())
    }

    fn boolean(&self, flag: &Flag, value: &str) -> Result<String, Answer> {
        match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".to_owned()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".to_owned()),
            _ => Err(self.refuse(&format!(
                "invalid argument \"{value}\" for \"--{}\" flag: strconv.ParseBool: parsing \"{value}\": invalid syntax",
                flag.long
            ))),
        }
    }

    fn count(&self, line: &Line) -> Result<(), Answer> {
        let (least, most) = self.arguments;
        let found = line.arguments.len();
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let wanted = match (least, most) {
            (0, 0) => "accepts no arguments".to_owned(),
            (least, most) if least == most => format!("requires {least} argument"),
            (least, _) => format!("requires at least {least} argument"),
        };
        Err(self.end(&format!("docker: '{}' {wanted}", self.command), 1))
    }

    /// An option that there is not.
    fn refuse(&self, words: &str) -> Answer {
        self.end(words, 125)
    }

    fn end(&self, words: &str, code: i32) -> Answer {
        let Self { command, usage, .. } = self;
        let text =
            format!("{words}\n\nUsage:  {command} {usage}\n\nRun '{command} --help' for more information\n");
        Answer::refused(text, code)
    }
}
