//! Grafana: its health with its database, its data sources and whether they answer, its dashboards.
//!
//! Source: Grafana's HTTP API, versions 9 to 12. A wrong password is never tried twice: after five wrong ones Grafana lets
//! nobody in for five minutes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::asking::{Asker, Look, Seen, listed, short, words_of};
use crate::{
    contact::at_once,
    probe::{Http, Login},
    procedure::CheckStatus,
    ui::{format::counted, sanitize},
};

/// How long after its start Grafana may be reading the dashboards that it is provisioned with.
const PROVISIONING: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
struct Health {
    database: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct DataSource {
    uid: String,
    name: String,
}

#[derive(Deserialize)]
struct DataSourceHealth {
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct Dashboard {
    title: String,
}

/// All checks of Grafana.
pub(super) fn look(asker: &Asker<'_>) -> Vec<Seen> {
    let health = Seen::timed(|| Seen::of("grafana", asker.until("Grafana", || health(asker))));
    let without = |health, sources: Seen, why: &str| vec![health, sources, Seen::skipped("dashboards", why)];
    if health.status != CheckStatus::Passed {
        let why = "not asked: Grafana is not healthy";
        return without(health, Seen::skipped("data-sources", why), why);
    }
    let Some(login) = &asker.stack.login else {
        let why = "not asked: the tfvars have no `grafana_admin_password`";
        return without(health, Seen::failed("data-sources", why), why);
    };
    let listed = asker.until("the data sources", || list(asker, login));
    let sources = match listed {
        Ok(sources) => Seen::timed(|| data_sources(asker, login, &sources)),
        Err(saw) => {
            return without(health, Seen::failed("data-sources", saw), "not asked: see the data sources");
        }
    };
    vec![health, sources, Seen::timed(|| dashboards(asker, login))]
}

/// With a database that fails it answers with a 503, and says so all the same.
fn health(asker: &Asker<'_>) -> Look<String> {
    let (service, path) = (&asker.stack.grafana, "/api/health");
    if let Http::Answered { body, .. } = asker.get(service, path, None)
        && let Ok(Health { database, version }) = serde_json::from_slice(&body)
    {
        return if database == "ok" {
            Look::Is(format!("version {}, its database is ok", short(&version)))
        } else {
            Look::NotYet(format!("its database is {}", short(&database)))
        };
    }
    asker.ok(service, path, None).and_then(|_| Look::IsNot("its health is told in another form".to_owned()))
}

/// The data sources; the first question that needs the password.
fn list(asker: &Asker<'_>, login: &Login) -> Look<Vec<DataSource>> {
    let path = "/api/datasources";
    if let Http::Answered { status: status @ (401 | 403), body } =
        asker.get(&asker.stack.grafana, path, Some(login))
    {
        return Look::IsNot(format!(
            "Grafana does not let `{}` in (status {status}{}): it keeps the password that it was first started with",
            sanitize(&login.user),
            words_of(&body)
        ));
    }
    asker.json(&asker.stack.grafana, path, Some(login))
}

fn data_sources(asker: &Asker<'_>, login: &Login, sources: &[DataSource]) -> Seen {
    let names: BTreeSet<String> = sources.iter().map(|source| source.name.clone()).collect();
    if names.is_empty() {
        return Seen::failed("data-sources", "Grafana has no data source").with(names);
    }
    let asked = at_once(sources, |source| {
        let what = format!("data source {}", short(&source.name));
        asker
            .until(&what, || answers(asker, login, source))
            .map_err(|saw| format!("`{}` ({saw})", short(&source.name)))
    });
    let broken: Vec<String> = match asked {
        Ok(asked) => asked.into_iter().filter_map(Result::err).collect(),
        Err(error) => vec![error.to_string()],
    };
    let seen = if broken.is_empty() {
        Seen::passed(
            "data-sources",
            format!("{}: {}", counted(names.len() as u64, "data source"), listed(&names)),
        )
    } else {
        Seen::failed(
            "data-sources",
            format!("{} of {} do not answer: {}", broken.len(), names.len(), listed(broken)),
        )
    };
    seen.with(names)
}

/// Whether Grafana reaches what a data source stands for. Some kinds cannot be asked, which says nothing against them.
fn answers(asker: &Asker<'_>, login: &Login, source: &DataSource) -> Look<()> {
    let path = format!("/api/datasources/uid/{}/health", source.uid);
    match asker.get(&asker.stack.grafana, &path, Some(login)) {
        Http::Answered { status: 200, body } => match serde_json::from_slice::<DataSourceHealth>(&body) {
            Ok(health) if health.status.eq_ignore_ascii_case("ok") => Look::Is(()),
            _ => Look::NotYet(format!("not well{}", words_of(&body))),
        },
        Http::Answered { status: 404 | 501, .. } => Look::Is(()),
        // The plug-in of such a kind runs in the browser only.
        Http::Answered { status: 500, body } if is_without_backend(&body) => Look::Is(()),
        Http::Answered { status: 401, .. } => {
            Look::IsNot("Grafana does not accept the password any more".to_owned())
        }
        Http::Answered { status, body } => Look::NotYet(format!("status {status}{}", words_of(&body))),
        unanswered => Look::NotYet(unanswered.to_string()),
    }
}

fn is_without_backend(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Refusal {
        message_id: String,
    }
    serde_json::from_slice::<Refusal>(body).is_ok_and(|refusal| refusal.message_id == "plugin.unavailable")
}

fn dashboards(asker: &Asker<'_>, login: &Login) -> Seen {
    let (began, mut names) = (Instant::now(), None);
    let looked = asker.until("the dashboards", || {
        let path = "/api/search?type=dash-db&limit=5000";
        asker.json::<Vec<Dashboard>>(&asker.stack.grafana, path, Some(login)).and_then(|found| {
            let titles: BTreeSet<String> = found.into_iter().map(|dashboard| dashboard.title).collect();
            names = Some(titles.clone());
            let saw = "Grafana has no dashboard".to_owned();
            match titles.len() {
                0 if began.elapsed() < PROVISIONING => Look::NotYet(saw),
                0 => Look::IsNot(saw),
                count => Look::Is(format!("{}: {}", counted(count as u64, "dashboard"), listed(&titles))),
            }
        })
    });
    Seen { names, ..Seen::of("dashboards", looked) }
}
