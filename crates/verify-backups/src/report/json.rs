//! One document for programs. Its shape is described in `docs/schema/verify-backups.schema.json`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    ArchivePart, BucketPart, DrillPart, GuestPart, NodePart, ReadyPart, Report, ServicePart, Totals,
    VersionPart, model::seconds,
};
use crate::{
    app::{PROGRAM, VERSION},
    finding::Finding,
};

/// Goes up when a field goes away or means something else.
const SCHEMA: u64 = 1;

/// The report as a document. `exit` is how the program ends: not even a page that was asked for may be missing.
pub fn json(report: &Report, exit: u8) -> Value {
    let totals = Totals::of(report);
    json!({
        "schema": SCHEMA,
        "program": PROGRAM,
        "version": VERSION,
        "began": report.began.to_string(),
        "took_seconds": report.took.as_secs_f64(),
        "level": report.level,
        "exit": exit,
        "error": report.error,
        "totals": {
            "nodes": totals.nodes,
            "nodes_not_reached": totals.nodes_not_reached,
            "guests": totals.guests,
            "archives": totals.archives,
            "bytes": totals.bytes,
            "verified": totals.verified,
            "errors": totals.errors,
            "warnings": totals.warnings,
            "notes": totals.notes,
        },
        "nodes": each(&report.nodes, node),
        "states": each(&report.buckets, bucket),
        "ready": each(&report.ready, ready),
        "services": each(&report.services, service),
        "codes": codes(report),
    })
}

fn each<T>(parts: &[T], make: fn(&T) -> Value) -> Value {
    parts.iter().map(make).collect()
}

fn findings(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| json!({ "code": finding.code.name, "severity": finding.severity(), "words": finding.words });
    findings.iter().map(one).collect()
}

/// What each code that occurs means, and what to do about it.
fn codes(report: &Report) -> Value {
    let entry = |finding: &Finding| {
        let code = finding.code;
        let about = json!({ "severity": code.severity, "meaning": code.meaning, "action": code.action });
        (code.name.to_owned(), about)
    };
    let sorted: BTreeMap<String, Value> = report.all_findings().map(entry).collect();
    Value::Object(sorted.into_iter().collect::<Map<_, _>>())
}

fn node(node: &NodePart) -> Value {
    json!({
        "name": node.label,
        "environment": node.environment,
        "reached": node.reached,
        "findings": findings(&node.findings),
        "guests": each(&node.guests, guest),
        "others": each(&node.others, archive),
    })
}

fn guest(guest: &GuestPart) -> Value {
    json!({
        "vmid": guest.vmid.get(),
        "name": guest.name,
        "kind": guest.kind,
        "present": guest.present,
        "findings": findings(&guest.findings),
        "archives": each(&guest.archives, archive),
        "drill": guest.drill.as_ref().map(drill),
    })
}

fn drill(drill: &DrillPart) -> Value {
    let DrillPart { entry, now } = drill;
    json!({
        "archive": entry.archive,
        "ctime": entry.ctime,
        "when": entry.when.to_string(),
        "age_seconds": entry.when.as_second().saturating_sub(entry.ctime),
        "proof": entry.proof,
        "restore_seconds": entry.restore_ms.map(seconds),
        "boot_seconds": entry.boot_ms.map(seconds),
        "took_seconds": seconds(entry.took_ms),
        "now": now,
    })
}

fn archive(archive: &ArchivePart) -> Value {
    let verified = archive.verified.as_ref().map(|verified| {
        json!({ "when": verified.when.to_string(), "sha256": verified.sha256, "now": verified.now })
    });
    json!({
        "id": archive.id,
        "path": archive.path,
        "ctime": archive.ctime,
        "bytes": archive.size,
        "also_on": archive.also_on,
        "verified": verified,
        "findings": findings(&archive.findings),
    })
}

fn bucket(bucket: &BucketPart) -> Value {
    json!({
        "environment": bucket.environment,
        "place": bucket.place,
        "findings": findings(&bucket.findings),
        "versions": each(&bucket.versions, version),
    })
}

fn ready(part: &ReadyPart) -> Value {
    let ReadyPart { check, about, seen, findings: found } = part;
    json!({ "check": check, "about": about, "seen": seen, "findings": findings(found) })
}

fn service(service: &ServicePart) -> Value {
    json!({
        "name": service.name,
        "environment": service.environment,
        "place": service.place,
        "checks": service.checks,
        "findings": findings(&service.findings),
    })
}

fn version(version: &VersionPart) -> Value {
    json!({
        "id": version.id,
        "written": version.written,
        "bytes": version.size,
        "serial": version.serial,
        "lineage": version.lineage,
        "current": version.current,
        "findings": findings(&version.findings),
    })
}
