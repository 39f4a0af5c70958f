//! Prometheus: ready, its targets, its rules, and whom it sends alerts to.
//!
//! Source: the HTTP API of Prometheus 2 and 3. `/-/healthy` says yes while nothing works yet; `/-/ready` does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

use super::asking::{Asker, Look, Seen, listed, short, words_of};
use crate::{probe::Http, ui::format::counted};

/// A Prometheus that has run for so long has scraped everything, and found everybody.
const SETTLED: Duration = Duration::from_secs(120);

/// A target of a younger one is down when it was so at this many scrapes: what it watches may be starting as well.
const SCRAPES: usize = 3;

/// What every answer of the API is wrapped in.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    active_targets: Vec<Target>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    scrape_url: String,
    #[serde(default)]
    last_error: String,
    last_scrape: Timestamp,
    health: String,
}

impl Target {
    fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    fn name(&self) -> String {
        format!("{} {}", self.label("job"), self.label("instance"))
    }
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: String,
    #[serde(default)]
    health: String,
    last_error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alertmanagers {
    active_alertmanagers: Vec<Alertmanager>,
}

#[derive(Deserialize)]
struct Alertmanager {
    url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Runtime {
    start_time: Timestamp,
}

/// Of a query for a scalar: the time, and the same as text.
#[derive(Deserialize)]
struct Scalar {
    result: (f64, String),
}

/// The segments of the log: the first, the last, and the one that is read. Before the first all are 0.
#[derive(Deserialize)]
struct Replay {
    min: i64,
    max: i64,
    current: i64,
}

/// All checks of Prometheus.
pub(super) fn look(asker: &Asker<'_>) -> Vec<Seen> {
    let ready = Seen::timed(|| {
        let ready = asker.until("Prometheus", || ready(asker)).map(|()| "ready".to_owned());
        Seen::of("prometheus", ready)
    });
    if ready.status != crate::procedure::CheckStatus::Passed {
        let later = ["targets", "rules", "alerting"];
        let later = later.map(|id| Seen::skipped(id, "not asked: Prometheus is not ready"));
        return std::iter::once(ready).chain(later).collect();
    }
    let (targets, rules, alerting) =
        (Seen::timed(|| targets(asker)), Seen::timed(|| rules(asker)), Seen::timed(|| alerting(asker)));
    vec![ready, targets, rules, alerting]
}

fn ready(asker: &Asker<'_>) -> Look<()> {
    match asker.get(&asker.stack.prometheus, "/-/ready", None) {
        Http::Answered { status: 200, .. } => Look::Is(()),
        Http::Answered { status: 503, body } => {
            Look::NotYet(match api::<Replay>(asker, "status/walreplay") {
                Look::Is(replay) => replay.words(),
                // Something in front of it says so, or an older Prometheus.
                _ => format!("status 503{}", words_of(&body)),
            })
        }
        _ => asker.ok(&asker.stack.prometheus, "/-/ready", None).and_then(|_| Look::Is(())),
    }
}

impl Replay {
    /// How far the log is read.
    fn words(&self) -> String {
        let (done, all) = (self.current - self.min, self.max - self.min);
        match (done, all) {
            (_, 0) => "starting, it replays its log".to_owned(),
            (done, all) if done >= all => "starting, its log is replayed".to_owned(),
            _ => format!("starting, {} % of its log is replayed", (100 * done / all).clamp(0, 100)),
        }
    }
}

fn api<T: DeserializeOwned>(asker: &Asker<'_>, path: &str) -> Look<T> {
    let answer = asker.json::<Envelope<T>>(&asker.stack.prometheus, &format!("/api/v1/{path}"), None);
    answer.and_then(|envelope| Look::Is(envelope.data))
}

/// How long it has been running, by its own clock.
fn running_for(asker: &Asker<'_>) -> Look<Duration> {
    api::<Runtime>(asker, "status/runtimeinfo").and_then(|runtime| {
        api::<Scalar>(asker, "query?query=time()").and_then(|now| {
            let seconds = now.result.0 - runtime.start_time.as_duration().as_secs_f64();
            Look::Is(Duration::try_from_secs_f64(seconds).unwrap_or_default())
        })
    })
}

/// Whether everything that it finds by itself shortly after its start has been found. What cannot be asked is not yet.
fn is_settled(asker: &Asker<'_>) -> bool {
    matches!(running_for(asker), Look::Is(time) if time >= SETTLED)
}

fn targets(asker: &Asker<'_>) -> Seen {
    let mut scrapes: BTreeMap<String, BTreeSet<Timestamp>> = BTreeMap::new();
    let mut last = Vec::new();
    let looked = asker.until("the targets", || {
        api::<Targets>(asker, "targets?state=active").and_then(|targets| {
            last = targets.active_targets;
            judge_targets(&last, &mut scrapes, || is_settled(asker))
        })
    });
    let names: BTreeSet<String> = last.iter().map(Target::name).collect();
    let seen = Seen::of("targets", looked);
    if names.is_empty() { seen } else { seen.with(names) }
}

fn judge_targets(
    targets: &[Target],
    scrapes: &mut BTreeMap<String, BTreeSet<Timestamp>>,
    is_settled: impl FnOnce() -> bool,
) -> Look<String> {
    if targets.is_empty() {
        return Look::NotYet("it has no target".to_owned());
    }
    let (up, other): (Vec<_>, Vec<_>) = targets.iter().partition(|target| target.health == "up");
    let (down, unknown): (Vec<_>, Vec<_>) = other.into_iter().partition(|target| target.health == "down");
    for target in &down {
        scrapes.entry(target.scrape_url.clone()).or_default().insert(target.last_scrape);
    }
    if down.is_empty() && unknown.is_empty() {
        return Look::Is(format!("{}: {}", counted(up.len() as u64, "target"), by_job(&up)));
    }
    let all = targets.len();
    if down.is_empty() {
        return Look::NotYet(format!("{} of {all} not scraped yet: {}", unknown.len(), by_job(&unknown)));
    }
    let saw = format!("{} of {all} down: {}", down.len(), listed(down.iter().map(|target| why_down(target))));
    // Asked about last: a scrape that is not due for minutes is not waited for.
    let is_sure =
        |target: &&&Target| scrapes.get(&target.scrape_url).is_some_and(|seen| seen.len() >= SCRAPES);
    if unknown.is_empty() && (down.iter().all(|target| is_sure(&target)) || is_settled()) {
        Look::IsNot(saw)
    } else {
        Look::NotYet(saw)
    }
}

/// `job node, 10.0.0.1:9100 (connection refused)`
fn why_down(target: &Target) -> String {
    let why = if target.last_error.is_empty() { "no reason is told" } else { &target.last_error };
    format!("job `{}`, {} ({})", target.label("job"), target.label("instance"), short(why))
}

/// `node 3, prometheus 1`
fn by_job(targets: &[&Target]) -> String {
    let mut jobs: BTreeMap<&str, usize> = BTreeMap::new();
    for target in targets {
        *jobs.entry(target.label("job")).or_default() += 1;
    }
    listed(jobs.into_iter().map(|(job, count)| format!("{job} {count}")))
}

fn rules(asker: &Asker<'_>) -> Seen {
    let mut names = None;
    let looked = asker.until("the rules", || {
        api::<Rules>(asker, "rules").and_then(|Rules { groups }| {
            names = Some(groups.iter().map(|group| group.name.clone()).collect());
            judge_rules(&groups)
        })
    });
    Seen { names, ..Seen::of("rules", looked) }
}

fn judge_rules(groups: &[Group]) -> Look<String> {
    if groups.is_empty() {
        return Look::IsNot("no rule is loaded, so no alert is ever made".to_owned());
    }
    let rules = groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (group, rule)));
    let broken = rules.filter(|(_, rule)| rule.health == "err").map(|(group, rule)| {
        let why = rule.last_error.as_deref().unwrap_or("no reason is told");
        format!("`{}` of group `{}` ({})", short(&rule.name), short(&group.name), short(why))
    });
    let broken: Vec<_> = broken.collect();
    if broken.is_empty() {
        let count: usize = groups.iter().map(|group| group.rules.len()).sum();
        let (groups, rules) = (counted(groups.len() as u64, "group"), counted(count as u64, "rule"));
        Look::Is(format!("{groups}, {rules}"))
    } else {
        Look::IsNot(format!("rules that fail: {}", listed(broken)))
    }
}

fn alerting(asker: &Asker<'_>) -> Seen {
    let looked = asker.until("its Alertmanager", || {
        api::<Alertmanagers>(asker, "alertmanagers").and_then(|found| {
            let urls: Vec<_> = found.active_alertmanagers.into_iter().map(|one| one.url).collect();
            if !urls.is_empty() {
                return Look::Is(format!("to {}", listed(urls)));
            }
            let saw = "Prometheus knows no Alertmanager: its alerts reach nobody".to_owned();
            if is_settled(asker) { Look::IsNot(saw) } else { Look::NotYet(saw) }
        })
    });
    Seen::of("alerting", looked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(job: &str, health: &str, scrape: i64) -> Target {
        let text = format!(
            r#"{{"labels":{{"job":"{job}","instance":"{job}:1"}},"scrapeUrl":"http://{job}:1/metrics","lastError":"refused","lastScrape":"{}","health":"{health}"}}"#,
            Timestamp::from_second(scrape).unwrap()
        );
        serde_json::from_str(&text).unwrap()
    }

    fn judge(
        targets: &[Target],
        scrapes: &mut BTreeMap<String, BTreeSet<Timestamp>>,
        settled: bool,
    ) -> String {
        match judge_targets(targets, scrapes, || settled) {
            Look::Is(saw) => format!("is {saw}"),
            Look::NotYet(saw) => format!("not yet {saw}"),
            Look::IsNot(saw) => format!("is not {saw}"),
        }
    }

    #[test]
    fn targets_are_counted_by_job_and_what_is_down_is_named() {
        let mut scrapes = BTreeMap::new();
        let good = [target("node", "up", 1), target("node", "up", 1), target("web", "up", 1)];
        assert_eq!(judge(&good, &mut scrapes, false), "is 3 targets: node 2, web 1");
        assert_eq!(judge(&[], &mut scrapes, true), "not yet it has no target");
        let starting = [target("node", "up", 1), target("web", "unknown", 0)];
        assert_eq!(judge(&starting, &mut scrapes, true), "not yet 1 of 2 not scraped yet: web 1");
        let dead = [target("node", "up", 1), target("web", "down", 1)];
        let words = "1 of 2 down: job `web`, web:1 (refused)";
        assert_eq!(judge(&dead, &mut BTreeMap::new(), true), format!("is not {words}"));
        // The same scrape, seen twice, is one.
        for (scrape, verdict) in [(1, "not yet"), (1, "not yet"), (2, "not yet"), (3, "is not")] {
            let dead = [target("node", "up", 1), target("web", "down", scrape)];
            assert_eq!(judge(&dead, &mut scrapes, false), format!("{verdict} {words}"));
        }
    }

    #[test]
    fn a_rule_that_fails_is_named() {
        let groups = |health: &str| -> Vec<Group> {
            serde_json::from_str(&format!(
                r#"[{{"name":"g","rules":[{{"name":"Down","health":"{health}","lastError":"no such label"}}]}}]"#
            ))
            .unwrap()
        };
        assert!(matches!(judge_rules(&groups("ok")), Look::Is(saw) if saw == "1 group, 1 rule"));
        let Look::IsNot(saw) = judge_rules(&groups("err")) else { panic!("it passes") };
        assert_eq!(saw, "rules that fail: `Down` of group `g` (no such label)");
        assert!(matches!(judge_rules(&[]), Look::IsNot(_)));
    }

    #[rstest::rstest]
    #[case(3, 9, "starting, 25 % of its log is replayed")]
    #[case(9, 9, "starting, its log is replayed")]
    #[case(1, 1, "starting, it replays its log")]
    fn a_log_that_is_replayed_is_told_in_percent(
        #[case] current: i64,
        #[case] max: i64,
        #[case] words: &str,
    ) {
        assert_eq!(Replay { min: 1, max, current }.words(), words);
    }
}
