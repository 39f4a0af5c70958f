//! The report on a terminal: a line a guest, what is wrong, totals, and what to do.

use std::collections::BTreeSet;

use console::style;
use restore_common::{
    ledger::Proof,
    procedure::CheckStatus,
    ui::{Table, format, sanitize},
};

use super::{
    ArchivePart, BucketPart, GuestPart, Level, NodePart, ReadyPart, Report, ServicePart, model::total_size,
};
use crate::finding::{Finding, Severity};

/// The text. `verbose` adds a line an archive and the notes.
pub fn text(report: &Report, width: usize, verbose: bool) -> String {
    let view = View { now: report.began.as_second(), width, verbose };
    let mut parts: Vec<String> = report.nodes.iter().map(|node| view.node(node)).collect();
    parts.extend(view.buckets(&report.buckets));
    parts.push(view.ready(&report.ready));
    parts.extend(report.services.iter().map(|service| view.service(service)));
    parts.extend(what_to_do(report, width));
    parts.push(if report.level == Level::Ready { ready_totals(report) } else { totals(report) });
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

struct View {
    now: i64,
    width: usize,
    verbose: bool,
}

impl View {
    fn node(&self, node: &NodePart) -> String {
        let place = match node.environment.as_str() {
            "" => sanitize(&node.label).into_owned(),
            environment => format!("{}, {}", sanitize(&node.label), sanitize(environment)),
        };
        let mut text = format!("{}\n", style(place).bold());
        text += &self.findings(&node.findings, "  ");
        let mut table = Table::new(["", "VMID", "name", "newest", "backups", "size", "status"])
            .right("VMID")
            .right("backups")
            .right("size")
            .flexible("name")
            .flexible("status");
        for guest in &node.guests {
            table.row(self.guest_row(guest));
        }
        text += &table.render(self.width);
        for guest in &node.guests {
            text += &self.guest_details(guest);
        }
        for other in &node.others {
            text += &self.archive_details(other);
        }
        text
    }

    fn guest_row(&self, guest: &GuestPart) -> [String; 7] {
        let size = total_size(&guest.archives);
        let name = match (&guest.name, guest.present) {
            (Some(name), _) => sanitize(name).into_owned(),
            (None, true) => "-".to_owned(),
            (None, false) => "(only backups)".to_owned(),
        };
        [
            mark(guest.all_findings().map(Finding::severity).max()),
            guest.vmid.to_string(),
            name,
            guest.archives.first().map_or_else(|| "never".to_owned(), |a| format::age(a.ctime, self.now)),
            guest.archives.len().to_string(),
            format::bytes(size),
            status(guest.all_findings()),
        ]
    }

    fn guest_details(&self, guest: &GuestPart) -> String {
        let mut text = String::new();
        for finding in guest.findings.iter().filter(|finding| self.shows(finding)) {
            text += &self.line(&guest.vmid.to_string(), finding);
        }
        if let Some(drill) = guest.drill.as_ref().filter(|drill| drill.now || self.verbose) {
            let severity = match drill.entry.proof {
                Proof::Proven => None,
                Proof::Started => Some(Severity::Warning),
                Proof::Failed => Some(Severity::Error),
            };
            let words = format!("{}: {}", guest.vmid, drill.words(self.now));
            text += &wrapped(&format!("  {} ", mark(severity)), &words, self.width);
        }
        for archive in &guest.archives {
            text += &self.archive_details(archive);
        }
        text
    }

    fn archive_details(&self, archive: &ArchivePart) -> String {
        let id = sanitize(&archive.id);
        let mut text = String::new();
        if self.verbose && archive.findings.is_empty() {
            let verified = match &archive.verified {
                Some(verified) => format!(", read {}", format::age(verified.when.as_second(), self.now)),
                None => String::new(),
            };
            let words = format!("{id}, {}{verified}", format::bytes(archive.size));
            text += &wrapped(&format!("  {} ", mark(None)), &words, self.width);
        }
        for finding in archive.findings.iter().filter(|finding| self.shows(finding)) {
            text += &self.line(&id, finding);
        }
        text
    }

    /// Notes are for whoever asks for more.
    fn shows(&self, finding: &Finding) -> bool {
        self.verbose || finding.severity() > Severity::Note
    }

    fn findings(&self, findings: &[Finding], indent: &str) -> String {
        let shown = findings.iter().filter(|finding| self.shows(finding));
        shown.fold(String::new(), |text, finding| {
            let words = format!("{}: {}", finding.code.name, sanitize(&finding.words));
            text + &wrapped(&format!("{indent}{} ", mark(Some(finding.severity()))), &words, self.width)
        })
    }

    fn line(&self, about: &str, finding: &Finding) -> String {
        let lead = format!("  {} ", mark(Some(finding.severity())));
        let words = sanitize(&finding.words);
        wrapped(&lead, &format!("{about}: {}: {words}", finding.code.name), self.width)
    }

    /// A line each: what is there as well, since that is the question.
    fn ready(&self, parts: &[ReadyPart]) -> String {
        let line = |part: &ReadyPart| {
            let lead = |severity| format!("{} {}, ", mark(severity), part.check);
            let about = sanitize(&part.about);
            if part.findings.is_empty() {
                return wrapped(&lead(None), &format!("{about}: {}", sanitize(&part.seen)), self.width);
            }
            let words = |finding: &Finding| {
                let words = format!("{about}: {}: {}", finding.code.name, sanitize(&finding.words));
                wrapped(&lead(Some(finding.severity())), &words, self.width)
            };
            part.findings.iter().map(words).collect()
        };
        parts.iter().map(line).collect()
    }

    fn buckets(&self, buckets: &[BucketPart]) -> Vec<String> {
        let bucket = |bucket: &BucketPart| {
            let worst = bucket.all_findings().map(Finding::severity).max();
            let place = format!("{}: {}", sanitize(&bucket.environment), sanitize(&bucket.place));
            let count = u64::try_from(bucket.versions.len()).unwrap_or(u64::MAX);
            let mut text =
                format!("{} state of {place}, {}\n", mark(worst), format::counted(count, "version"));
            text += &self.findings(&bucket.findings, "  ");
            for version in &bucket.versions {
                for finding in version.findings.iter().filter(|finding| self.shows(finding)) {
                    text += &self.line(&sanitize(&version.id), finding);
                }
            }
            text
        };
        // An environment that keeps its state elsewhere has only a note.
        let says_something = |bucket: &&BucketPart| {
            !bucket.versions.is_empty() || bucket.findings.iter().any(|f| self.shows(f))
        };
        buckets.iter().filter(says_something).map(bucket).collect()
    }
}

impl View {
    fn service(&self, service: &ServicePart) -> String {
        let worst = service.findings.iter().map(Finding::severity).max();
        let place = sanitize(&service.place);
        let checks = format::counted(service.checks.len() as u64, "check");
        let lead = format!("{} ", mark(worst));
        let mut text = wrapped(&lead, &format!("{} at {place}, {checks}", service.name), self.width);
        let passed = service.checks.iter().filter(|check| check.status == CheckStatus::Passed);
        for check in passed.filter(|_| self.verbose) {
            let words = format!("{}: {}", check.title, sanitize(&check.saw));
            text += &wrapped(&format!("  {} ", mark(None)), &words, self.width);
        }
        text + &self.findings(&service.findings, "  ")
    }
}

/// One character that says how bad it is, in colour where there is colour.
fn mark(severity: Option<Severity>) -> String {
    match severity {
        None => style("✓").green().to_string(),
        Some(Severity::Note) => "·".to_owned(),
        Some(Severity::Warning) => style("!").yellow().to_string(),
        Some(Severity::Error) => style("✗").red().to_string(),
    }
}

/// `ok`, or the codes, the worst first.
fn status<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let codes: BTreeSet<_> = findings
        .filter(|finding| finding.severity() > Severity::Note)
        .map(|finding| (std::cmp::Reverse(finding.severity()), finding.code.name))
        .collect();
    if codes.is_empty() {
        "ok".to_owned()
    } else {
        codes.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    }
}

/// What each kind of finding asks for, once.
fn what_to_do(report: &Report, width: usize) -> Option<String> {
    let serious = report.all_findings().filter(|finding| finding.severity() > Severity::Note);
    let codes: BTreeSet<_> = serious
        .map(|finding| (std::cmp::Reverse(finding.severity()), finding.code.name, finding.code.action))
        .collect();
    let line = |text: String, (_, name, action): (_, &str, &str)| {
        text + &wrapped("  ", &format!("{name}: {action}"), width)
    };
    (!codes.is_empty()).then(|| codes.into_iter().fold(format!("{}\n", style("What to do").bold()), line))
}

fn ready_totals(report: &Report) -> String {
    let there = report.ready.iter().filter(|part| part.findings.is_empty()).count();
    let took = format::duration(report.took);
    format!("{there} of {} are there, in {took}\n", report.ready.len())
}

fn totals(report: &Report) -> String {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let of = |wanted: Severity| number(report.all_findings().filter(|f| f.severity() == wanted).count());
    let guests = report.nodes.iter().flat_map(|node| &node.guests);
    let archives = guests.clone().map(|guest| guest.archives.len()).sum();
    format!(
        "{}, {}, {}: {}, {}, in {}\n",
        format::counted(number(report.nodes.len()), "node"),
        format::counted(number(guests.count()), "guest"),
        format::counted(number(archives), "backup"),
        format::counted(of(Severity::Error), "error"),
        format::counted(of(Severity::Warning), "warning"),
        format::duration(report.took),
    )
}

/// Words in lines of this width, the later ones further in. A word that is too long stays whole: it may be copied.
fn wrapped(lead: &str, words: &str, width: usize) -> String {
    let indent = " ".repeat(console::measure_text_width(lead) + 2);
    let (mut text, mut line) = (String::new(), lead.to_owned());
    let mut is_first = true;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let gap = usize::from(!is_first);
        if !is_first && console::measure_text_width(&line) + gap + console::measure_text_width(word) > width {
            text += &line;
            text.push('\n');
            line.clone_from(&indent);
        } else if !is_first {
            line.push(' ');
        }
        line += word;
        is_first = false;
    }
    text + &line + "\n"
}
