//! Grafana's few endpoints that tell whether it works, as version 11 answers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{Method, StatusCode, http::request::Parts};
use serde_json::{Value, json};

use super::{Fault, Shared, lock, services};

/// A data source. Alertmanager's plug-in runs in the browser only: Grafana itself cannot ask it.
struct Source {
    uid: &'static str,
    name: &'static str,
    kind: &'static str,
    /// The container behind it, and the port there.
    container: &'static str,
    port: u16,
    /// What its plug-in says when all is well.
    healthy: Option<&'static str>,
}

const SOURCES: [Source; 3] = [
    Source {
        uid: "prometheus",
        name: "Prometheus",
        kind: "prometheus",
        container: "prometheus",
        port: 9090,
        healthy: Some("Successfully queried the Prometheus API."),
    },
    Source {
        uid: "P8E80F9AEF21F6940",
        name: "Loki",
        kind: "loki",
        container: "loki",
        port: 3100,
        healthy: Some("Data source successfully connected."),
    },
    Source {
        uid: "alertmanager",
        name: "Alertmanager",
        kind: "alertmanager",
        container: "alertmanager",
        port: 9093,
        healthy: None,
    },
];

/// The dashboards: UID, title, tags.
const DASHBOARDS: [(&str, &str, &[&str]); 3] = [
    ("rYdddlPWk", "Node Exporter Full", &["linux"]),
    ("Dp7Cd57Zza", "Proxmox via Prometheus", &["proxmox", "pve"]),
    ("UDdpyzz7z", "Prometheus 2.0 Overview", &["prometheus"]),
];

/// After so many wrong passwords nobody is let in any more: for five minutes in reality, here until the VM is started anew.
const PATIENCE: u32 = 5;

/// What Grafana answers to a request.
pub(super) fn answer(request: &Parts, shared: &Shared, faults: &[Fault]) -> (StatusCode, Value) {
    let path = request.uri.path().trim_end_matches('/');
    if request.method != Method::GET {
        return (StatusCode::NOT_FOUND, json!({ "message": "Not found" }));
    }
    if path == "/api/health" {
        return health(faults);
    }
    if let Err(refusal) = login(request, shared, faults) {
        return (StatusCode::UNAUTHORIZED, refusal);
    }
    if faults.contains(&Fault::GrafanaDatabase) {
        return (StatusCode::INTERNAL_SERVER_ERROR, json!({ "message": "Failed to query the database" }));
    }
    match path.split('/').collect::<Vec<_>>()[..] {
        ["", "api", "search"] => search(request.uri.query().unwrap_or_default(), faults),
        ["", "api", "datasources"] => (StatusCode::OK, SOURCES.iter().enumerate().map(source).collect()),
        ["", "api", "datasources", "uid", uid] => {
            match SOURCES.iter().enumerate().find(|(_, s)| s.uid == uid) {
                Some(found) => (StatusCode::OK, source(found)),
                None => unknown_source(),
            }
        }
        ["", "api", "datasources", "uid", uid, "health"] => match SOURCES.iter().position(|s| s.uid == uid) {
            Some(number) => source_health(number, shared, faults),
            None => unknown_source(),
        },
        _ => (StatusCode::NOT_FOUND, json!({ "message": "Not found" })),
    }
}

fn health(faults: &[Fault]) -> (StatusCode, Value) {
    let (status, database) = if faults.contains(&Fault::GrafanaDatabase) {
        (StatusCode::SERVICE_UNAVAILABLE, "failing")
    } else {
        (StatusCode::OK, "ok")
    };
    (
        status,
        json!({ "commit": "2a88694fd3ced0335bf3726cc5d0adc2d1858855", "database": database, "version": "11.2.0" }),
    )
}

/// Judges the login. Nobody may look without one.
fn login(request: &Parts, shared: &Shared, faults: &[Fault]) -> Result<(), Value> {
    let refusal = |message: &str, id: &str| json!({ "message": message, "messageId": id, "statusCode": 401, "traceID": "" });
    let given = request.headers.get(hyper::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(encoded) = given.and_then(|value| value.strip_prefix("Basic ")) else {
        return Err(refusal("Unauthorized", "auth.unauthorized"));
    };
    let password =
        if faults.contains(&Fault::GrafanaPassword) { "set-by-hand-later" } else { &shared.password };
    let given = STANDARD.decode(encoded).unwrap_or_default();
    let mut wrong = lock(&shared.wrong_logins);
    if given == format!("admin:{password}").into_bytes() && *wrong < PATIENCE {
        return Ok(());
    }
    *wrong += 1;
    Err(refusal("Invalid username or password", "password-auth.failed"))
}

fn search(query: &str, faults: &[Fault]) -> (StatusCode, Value) {
    let wants =
        |kind: &str| !query.contains("type=") || query.split('&').any(|pair| pair == format!("type={kind}"));
    let dashboards = DASHBOARDS.iter().enumerate().filter(|_| !faults.contains(&Fault::NoDashboards));
    let mut found: Vec<Value> = Vec::new();
    if wants("dash-folder") {
        found.push(json!({
            "id": 9, "uid": "homelab", "title": "Homelab", "uri": "db/homelab", "url": "/dashboards/f/homelab/homelab",
            "slug": "", "type": "dash-folder", "tags": [], "isStarred": false, "sortMeta": 0
        }));
    }
    if wants("dash-db") {
        found.extend(dashboards.map(|(number, (uid, title, tags))| {
            let slug = title.to_lowercase().replace([' ', '.'], "-");
            json!({
                "id": number + 10, "uid": uid, "title": title, "uri": format!("db/{slug}"),
                "url": format!("/d/{uid}/{slug}"), "slug": "", "type": "dash-db", "tags": tags, "isStarred": false,
                "folderId": 9, "folderUid": "homelab", "folderTitle": "Homelab",
                "folderUrl": "/dashboards/f/homelab/homelab", "sortMeta": 0
            })
        }));
    }
    (StatusCode::OK, found.into())
}

fn source((number, source): (usize, &Source)) -> Value {
    let Source { uid, name, kind, container, port, .. } = source;
    json!({
        "id": number + 1, "uid": uid, "orgId": 1, "name": name, "type": kind, "typeName": name,
        "typeLogoUrl": format!("public/app/plugins/datasource/{kind}/img/{kind}_logo.svg"), "access": "proxy",
        "url": format!("http://{container}:{port}"), "user": "", "database": "", "basicAuth": false,
        "isDefault": number == 0, "jsonData": {}, "readOnly": true
    })
}

fn source_health(number: usize, shared: &Shared, faults: &[Fault]) -> (StatusCode, Value) {
    let Source { container, port, healthy, .. } = &SOURCES[number];
    let Some(healthy) = healthy else {
        let words = json!({
            "message": "Plugin unavailable", "messageId": "plugin.unavailable", "statusCode": 500, "traceID": ""
        });
        return (StatusCode::INTERNAL_SERVER_ERROR, words);
    };
    let is_up = lock(&shared.containers).iter().any(|c| c.name == *container && c.is_up());
    let trouble = if number == 0 && faults.contains(&Fault::DataSource) || !is_up {
        Some(format!(
            "Post \"http://{container}:{port}/api/v1/query\": dial tcp 172.18.0.{}:{port}: connect: connection refused",
            number + 2
        ))
    } else if *container == "prometheus" && services::replay(shared, faults).is_some() {
        Some("503 Service Unavailable".to_owned())
    } else {
        None
    };
    match trouble {
        None => (StatusCode::OK, json!({ "message": healthy, "status": "OK" })),
        Some(trouble) => {
            let message = format!("{trouble} - There was an error returned querying the API.");
            (StatusCode::BAD_REQUEST, json!({ "message": message, "status": "ERROR" }))
        }
    }
}

fn unknown_source() -> (StatusCode, Value) {
    (
        StatusCode::NOT_FOUND,
        json!({ "message": "Data source not found", "messageId": "", "statusCode": 404, "traceID": "" }),
    )
}
