//! Metrics in Prometheus' text format, for node-exporter's textfile collector.

use std::collections::BTreeMap;

use restore_common::{ledger::Proof, procedure::CheckStatus};

use super::{GuestPart, NodePart, ReadyPart, Report, model::seconds};
use crate::finding::{Code, Finding, Severity};

/// The report as metrics. `exit` is how the program ends.
pub fn metrics(report: &Report, exit: u8) -> String {
    let mut page = Page::default();
    about_run(&mut page, report, exit);
    about_nodes(&mut page, report);
    about_guests(&mut page, report);
    about_states(&mut page, report);
    about_ready(&mut page, report);
    about_services(&mut page, report);
    page.0
}

/// Samples of one metric, by its labels.
type Samples = Vec<(Vec<(&'static str, String)>, f64)>;

#[derive(Default)]
struct Page(String);

impl Page {
    /// One metric with all its samples; nothing where there is no sample.
    fn gauge(&mut self, name: &str, help: &str, samples: Samples) {
        if samples.is_empty() {
            return;
        }
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            self.0.push_str(&format!("{name}{labels} {value}\n"));
        }
    }
}

/// A label's value as the format wants it. Other control characters would be legal and only confuse.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
        escaped
    })
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a metric is a float; sizes and times lose nothing that matters"
)]
fn float(number: impl TryInto<i64>) -> f64 {
    number.try_into().unwrap_or(i64::MAX) as f64
}

fn about_run(page: &mut Page, report: &Report, exit: u8) {
    let one = |value| vec![(Vec::new(), value)];
    let ended = report.began.as_second() + i64::try_from(report.took.as_secs()).unwrap_or(0);
    page.gauge(
        "pve_backup_last_run_timestamp_seconds",
        "When the last run of verify-backups ended.",
        one(float(ended)),
    );
    page.gauge("pve_backup_last_run_duration_seconds", "How long it took.", one(report.took.as_secs_f64()));
    page.gauge(
        "pve_backup_last_run_exit_code",
        "How it ended: 0 all good, 1 warnings, 2 errors.",
        one(f64::from(exit)),
    );
}

fn about_nodes(page: &mut Page, report: &Report) {
    let reached = |node: &NodePart| (of_node(node), f64::from(u8::from(node.reached)));
    page.gauge(
        "pve_backup_node_reached",
        "Whether the node could be asked.",
        report.nodes.iter().map(reached).collect(),
    );
    let mut samples = Samples::new();
    for node in &report.nodes {
        count(&mut samples, &of_node(node), node.all_findings());
    }
    page.gauge("pve_backup_findings", "How often each kind of finding was made on a node.", samples);
}

fn of_node(node: &NodePart) -> Vec<(&'static str, String)> {
    vec![("node", node.label.clone()), ("environment", node.environment.clone())]
}

fn of_guest(node: &NodePart, guest: &GuestPart) -> Vec<(&'static str, String)> {
    let name = guest.name.clone().unwrap_or_default();
    let mut labels = of_node(node);
    let kind = guest.kind.api().to_owned();
    labels.extend([("vmid", guest.vmid.to_string()), ("kind", kind), ("name", name)]);
    labels
}

fn count<'f>(
    samples: &mut Samples,
    labels: &[(&'static str, String)],
    findings: impl Iterator<Item = &'f Finding>,
) {
    let mut counts: BTreeMap<&str, (&Code, u32)> = BTreeMap::new();
    for finding in findings {
        counts.entry(finding.code.name).or_insert((finding.code, 0)).1 += 1;
    }
    for (code, number) in counts.into_values() {
        let severity = match code.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let own = [("code", code.name.to_owned()), ("severity", severity.to_owned())];
        samples.push((labels.iter().cloned().chain(own).collect(), f64::from(number)));
    }
}

fn about_guests(page: &mut Page, report: &Report) {
    let guests = || report.nodes.iter().flat_map(|node| node.guests.iter().map(move |guest| (node, guest)));
    let each = |value: fn(&GuestPart) -> Option<f64>| -> Samples {
        guests().filter_map(|(node, guest)| Some((of_guest(node, guest), value(guest)?))).collect()
    };
    page.gauge(
        "pve_backup_guest_present",
        "Whether there is such a guest now; otherwise only its backups are left.",
        each(|guest| Some(f64::from(u8::from(guest.present)))),
    );
    page.gauge(
        "pve_backup_archives",
        "How many backups there are of a guest.",
        each(|guest| Some(float(guest.archives.len()))),
    );
    page.gauge(
        "pve_backup_newest_timestamp_seconds",
        "When the newest backup of a guest was made.",
        each(|guest| guest.archives.first().map(|archive| float(archive.ctime))),
    );
    page.gauge(
        "pve_backup_newest_size_bytes",
        "How large it is.",
        each(|guest| guest.archives.first().map(|archive| float(archive.size))),
    );
    page.gauge(
        "pve_backup_newest_verified_timestamp_seconds",
        "When its last byte was last read and found good; absent when never.",
        each(|guest| Some(float(guest.archives.first()?.verified.as_ref()?.when.as_second()))),
    );
    page.gauge(
        "pve_backup_guest_errors",
        "How many errors were found about a guest and its backups.",
        each(|guest| {
            Some(float(guest.all_findings().filter(|finding| finding.severity() == Severity::Error).count()))
        }),
    );
    about_drills(page, &each);
}

fn about_drills(page: &mut Page, each: &dyn Fn(fn(&GuestPart) -> Option<f64>) -> Samples) {
    page.gauge(
        "pve_backup_drill_timestamp_seconds",
        "When a backup of a guest was last restored and started for trial.",
        each(|guest| Some(float(guest.drill.as_ref()?.entry.when.as_second()))),
    );
    page.gauge(
        "pve_backup_drill_proven",
        "Whether that guest came up and passed its checks.",
        each(|guest| Some(f64::from(u8::from(guest.drill.as_ref()?.entry.proof == Proof::Proven)))),
    );
    page.gauge(
        "pve_backup_drill_point_timestamp_seconds",
        "When the backup was made that was tried.",
        each(|guest| Some(float(guest.drill.as_ref()?.entry.ctime))),
    );
    page.gauge(
        "pve_backup_drill_restore_seconds",
        "How long restoring it took.",
        each(|guest| guest.drill.as_ref()?.entry.restore_ms.map(seconds)),
    );
    page.gauge(
        "pve_backup_drill_boot_seconds",
        "How long it took from its start until its system was up.",
        each(|guest| guest.drill.as_ref()?.entry.boot_ms.map(seconds)),
    );
    page.gauge(
        "pve_backup_drill_duration_seconds",
        "How long the trial took until nothing of it was left.",
        each(|guest| Some(seconds(guest.drill.as_ref()?.entry.took_ms))),
    );
}

fn about_states(page: &mut Page, report: &Report) {
    let labels = |environment: &str| vec![("environment", environment.to_owned())];
    let versions =
        report.buckets.iter().map(|bucket| (labels(&bucket.environment), float(bucket.versions.len())));
    page.gauge(
        "pve_state_versions",
        "How many versions of its Terraform state there are.",
        versions.collect(),
    );
    let serial = report.buckets.iter().filter_map(|bucket| {
        let current = bucket.versions.iter().find(|version| version.current)?;
        Some((labels(&bucket.environment), float(current.serial?)))
    });
    page.gauge("pve_state_serial", "The serial of the current one.", serial.collect());
    let mut samples = Samples::new();
    for bucket in &report.buckets {
        count(&mut samples, &labels(&bucket.environment), bucket.all_findings());
    }
    page.gauge("pve_state_findings", "How often each kind of finding was made about it.", samples);
}

fn about_ready(page: &mut Page, report: &Report) {
    let sample = |part: &ReadyPart| {
        let labels = vec![("check", part.check.to_owned()), ("about", part.about.clone())];
        (labels, part.findings.is_empty())
    };
    // Of one node or environment there may be several of a kind, such as providers.
    let mut checks: BTreeMap<_, bool> = BTreeMap::new();
    for (labels, is_ready) in report.ready.iter().map(sample) {
        *checks.entry(labels).or_insert(true) &= is_ready;
    }
    let samples = checks.into_iter().map(|(labels, is_ready)| (labels, f64::from(u8::from(is_ready))));
    page.gauge("pve_ready", "Whether something that a disaster would need is there.", samples.collect());
}

fn about_services(page: &mut Page, report: &Report) {
    let checks =
        report.services.iter().flat_map(|service| service.checks.iter().map(move |check| (service, check)));
    let samples = checks.map(|(service, check)| {
        let labels = vec![
            ("service", service.name.to_owned()),
            ("environment", service.environment.clone()),
            ("check", check.id.clone()),
        ];
        (labels, f64::from(u8::from(check.status == CheckStatus::Passed)))
    });
    page.gauge("pve_service_check_passed", "Whether a check of a service passed.", samples.collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\\b\"c\nd\x1be"), "a\\\\b\\\"c\\nd\u{fffd}e");
    }

    #[test]
    fn no_code_has_a_name_that_a_label_would_change() {
        assert!(codes::all().all(|code| escaped(code.name) == code.name));
    }
}
