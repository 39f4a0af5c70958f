//! One page that can be read anywhere: nothing is loaded, nothing runs.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use restore_common::{
    procedure::CheckStatus,
    ui::{format, sanitize_lines},
};

use super::{ArchivePart, BucketPart, GuestPart, NodePart, ReadyPart, Report, ServicePart, Totals};
use crate::finding::{Code, Finding, Severity};

const STYLE: &str = include_str!("page.css");

/// So many of a guest's backups are drawn, the newest.
const DRAWN: usize = 60;

/// The units of a chart: they say nothing, the picture is stretched.
const WIDTH: u32 = 300;
const HEIGHT: u32 = 50;

/// The report as a page.
pub fn page(report: &Report) -> String {
    let mut html = String::new();
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    html.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    let _ = writeln!(html, "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n<title>Backups</title>\n");
    let _ = writeln!(html, "<style>{STYLE}</style></head><body><main>");
    head(&mut html, report);
    to_do(&mut html, report);
    for node in &report.nodes {
        about_node(&mut html, node, report.began.as_second());
    }
    about_states(&mut html, &report.buckets);
    about_ready(&mut html, &report.ready);
    about_services(&mut html, &report.services);
    html.push_str("</main></body></html>\n");
    html
}

/// Text in HTML. What would act or mislead is shown as what it is, like on a terminal; line breaks may stay.
fn text(text: &str) -> Cow<'_, str> {
    let shown = sanitize_lines(text);
    if !shown.contains(['&', '<', '>', '"', '\'']) {
        return shown;
    }
    let mut escaped = String::with_capacity(shown.len() + 16);
    for c in shown.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// The word for a severity, which is the name of its class as well.
fn class(severity: Option<Severity>) -> &'static str {
    match severity {
        None => "good",
        Some(Severity::Note) => "note",
        Some(Severity::Warning) => "warning",
        Some(Severity::Error) => "error",
    }
}

fn worst<'f>(findings: impl Iterator<Item = &'f Finding>) -> Option<Severity> {
    findings.map(Finding::severity).max()
}

fn state(severity: Option<Severity>) -> String {
    format!("<span class=\"state {0}\">{0}</span>", class(severity))
}

fn head(html: &mut String, report: &Report) {
    let totals = Totals::of(report);
    let verdict = match report.worst() {
        None | Some(Severity::Note) => "All good",
        Some(Severity::Warning) => "Warnings",
        Some(Severity::Error) => "Errors",
    };
    let began = report.began.strftime("%F %H:%M UTC");
    let took = format::duration(report.took);
    let _ = writeln!(html, "<h1>Backups</h1><p class=\"soft\">{began}, took {took}</p>");
    let _ = writeln!(html, "<p class=\"verdict {}\">{verdict}</p>", class(report.worst()));
    let archives = format!("{} ({})", totals.archives, format::bytes(totals.bytes));
    let counts = [
        ("guests", totals.guests.to_string()),
        ("backups", archives),
        ("read to their end", totals.verified.to_string()),
        ("errors", totals.errors.to_string()),
        ("warnings", totals.warnings.to_string()),
    ];
    html.push_str("<dl class=\"totals\">");
    for (name, value) in counts {
        let _ = write!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    html.push_str("</dl>\n");
}

/// Each code once, worst first: what it means and what to do.
fn to_do(html: &mut String, report: &Report) {
    let mut counts: BTreeMap<&str, (&Code, usize)> = BTreeMap::new();
    for finding in report.all_findings().filter(|finding| finding.severity() > Severity::Note) {
        counts.entry(finding.code.name).or_insert((finding.code, 0)).1 += 1;
    }
    if counts.is_empty() {
        return;
    }
    let mut codes: Vec<(&Code, usize)> = counts.into_values().collect();
    codes.sort_by_key(|(code, _)| std::cmp::Reverse(code.severity));
    html.push_str("<h2>What to do</h2><div class=\"card\"><ul>");
    for (code, count) in codes {
        let _ = write!(
            html,
            "<li>{} <code>{}</code> ×{count}<br>{}<br><strong>{}</strong></li>",
            state(Some(code.severity)),
            code.name,
            text(code.meaning),
            text(code.action)
        );
    }
    html.push_str("</ul></div>\n");
}

/// Findings, with what they are about in front.
fn items(html: &mut String, about: &str, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    html.push_str("<ul>");
    for finding in findings {
        let _ = write!(
            html,
            "<li>{} <code>{}</code> {}{}</li>",
            state(Some(finding.severity())),
            finding.code.name,
            text(about),
            text(&finding.words)
        );
    }
    html.push_str("</ul>");
}

fn about_node(html: &mut String, node: &NodePart, now: i64) {
    let _ = write!(html, "<h2>{}</h2>", text(&node.label));
    if !node.environment.is_empty() {
        let _ = write!(html, "<p class=\"soft\">environment {}</p>", text(&node.environment));
    }
    if !node.findings.is_empty() {
        html.push_str("<div class=\"card\">");
        items(html, "", &node.findings);
        html.push_str("</div>");
    }
    html.push_str("<div class=\"cards\">\n");
    for guest in &node.guests {
        about_guest(html, guest, now);
    }
    html.push_str("</div>\n");
    let others: Vec<&ArchivePart> = node.others.iter().filter(|other| !other.findings.is_empty()).collect();
    if !others.is_empty() {
        let worst = state(worst(others.iter().flat_map(|other| &other.findings)));
        let _ = write!(html, "<details class=\"card\"><summary>Other files {worst}</summary>");
        for other in others {
            items(html, &format!("{}: ", other.id), &other.findings);
        }
        html.push_str("</details>\n");
    }
}

fn about_guest(html: &mut String, guest: &GuestPart, now: i64) {
    let name = guest.name.as_deref().unwrap_or(if guest.present { "" } else { "(gone)" });
    let _ = write!(
        html,
        "<section class=\"card\"><h3><span>{} {}</span>{}</h3>",
        guest.vmid,
        text(name),
        state(worst(guest.all_findings()))
    );
    match guest.archives.first() {
        Some(newest) => {
            let verified = match &newest.verified {
                Some(verified) => format!("read to its end {}", format::age(verified.when.as_second(), now)),
                None => "never read to its end".to_owned(),
            };
            let _ = write!(
                html,
                "<p class=\"soft\">newest {}, {}; {verified}</p>",
                format::age(newest.ctime, now),
                format::bytes(newest.size)
            );
            chart(html, &guest.archives);
        }
        None => html.push_str("<p class=\"soft\">no backup</p>"),
    }
    if let Some(drill) = &guest.drill {
        let _ = write!(html, "<p class=\"soft\">{}</p>", text(&drill.words(now)));
    }
    items(html, "", &guest.findings);
    for archive in guest.archives.iter().filter(|archive| !archive.findings.is_empty()) {
        items(html, &format!("{}: ", file_name(&archive.id)), &archive.findings);
    }
    html.push_str("</section>\n");
}

fn file_name(id: &str) -> &str {
    id.rsplit(['/', ':']).next().unwrap_or(id)
}

/// A bar for each backup: where it stands is when it was made, how high it is how large it is.
fn chart(html: &mut String, archives: &[ArchivePart]) {
    let drawn = &archives[..archives.len().min(DRAWN)];
    let times = || drawn.iter().map(|archive| archive.ctime);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return };
    let span = u128::from(last.abs_diff(first)).max(1);
    let largest = drawn.iter().map(|archive| archive.size).max().unwrap_or(0).max(1);
    let label =
        format!("{}, the largest {}", format::counted(drawn.len() as u64, "backup"), format::bytes(largest));
    let _ = write!(
        html,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        text(&label)
    );
    let _ = write!(html, "<line x1=\"0\" y1=\"{HEIGHT}\" x2=\"{WIDTH}\" y2=\"{HEIGHT}\"/>");
    for archive in drawn {
        let since = u128::from(archive.ctime.abs_diff(first));
        let x = if first == last { u128::from(WIDTH) - 4 } else { since * u128::from(WIDTH - 4) / span };
        let height = (u128::from(archive.size) * u128::from(HEIGHT) / u128::from(largest)).max(2);
        let y = u128::from(HEIGHT) - height;
        let class = class(worst(archive.findings.iter()));
        let _ = write!(
            html,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"4\" height=\"{height}\"><title>{} {}: {class}</title></rect>",
            text(file_name(&archive.id)),
            format::bytes(archive.size)
        );
    }
    html.push_str("</svg>");
    let _ = write!(html, "<p class=\"soft\">{}</p>", text(&label));
}

fn about_ready(html: &mut String, parts: &[ReadyPart]) {
    if parts.is_empty() {
        return;
    }
    html.push_str("<h2>For a disaster</h2><div class=\"card\"><ul>\n");
    for part in parts {
        let (state, about) = (state(worst(part.findings.iter())), text(&part.about));
        let _ = write!(html, "<li>{state} {}, {about}: {}</li>", part.check, text(&part.seen));
        items(html, "", &part.findings);
    }
    html.push_str("</ul></div>\n");
}

fn about_states(html: &mut String, buckets: &[BucketPart]) {
    if buckets.is_empty() {
        return;
    }
    html.push_str("<h2>Terraform states</h2><div class=\"cards\">\n");
    for bucket in buckets {
        let current = bucket.versions.iter().find(|version| version.current);
        let serial = current.and_then(|version| version.serial);
        let serial = serial.map_or_else(String::new, |serial| format!(", serial {serial}"));
        let _ = write!(
            html,
            "<section class=\"card\"><h3><span>{}</span>{}</h3><p class=\"soft\">{}<br>{}{serial}</p>",
            text(&bucket.environment),
            state(worst(bucket.all_findings())),
            text(&bucket.place),
            format::counted(bucket.versions.len() as u64, "version")
        );
        items(html, "", &bucket.findings);
        for version in &bucket.versions {
            items(html, &format!("{}: ", version.id), &version.findings);
        }
        html.push_str("</section>\n");
    }
    html.push_str("</div>\n");
}

fn about_services(html: &mut String, services: &[ServicePart]) {
    if services.is_empty() {
        return;
    }
    html.push_str("<h2>Services</h2><div class=\"cards\">\n");
    for service in services {
        let _ = write!(
            html,
            "<section class=\"card\"><h3><span>{}</span>{}</h3><p class=\"soft\">{}<br>{} of {} passed</p>",
            text(service.name),
            state(worst(service.findings.iter())),
            text(&service.place),
            service.checks.iter().filter(|check| check.status == CheckStatus::Passed).count(),
            format::counted(service.checks.len() as u64, "check")
        );
        items(html, "", &service.findings);
        html.push_str("</section>\n");
    }
    html.push_str("</div>\n");
}
