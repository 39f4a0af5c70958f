//! Rules about the keys of a property string taken together, which the real programs check after each key on its own.

use std::collections::BTreeMap;

use serde_json::Value;

use super::table::Schema;

/// The CPU types that PVE defines on top of QEMU's.
const DEFINED_BY_PVE: [&str; 4] = ["x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4"];

/// The CPU flags that a VM may switch, in the order in which PVE 8 lists them.
const FLAGS_8: [&str; 12] = [
    "pcid",
    "spec-ctrl",
    "ibpb",
    "ssbd",
    "virt-ssbd",
    "amd-ssbd",
    "amd-no-ssb",
    "pdpe1gb",
    "md-clear",
    "hv-tlbflush",
    "hv-evmcs",
    "aes",
];

/// The CPU flags that a VM may switch, in the order in which PVE 9 lists them.
const FLAGS_9: [&str; 13] = [
    "aes",
    "amd-no-ssb",
    "amd-ssbd",
    "hv-evmcs",
    "hv-tlbflush",
    "ibpb",
    "md-clear",
    "nested-virt",
    "pcid",
    "pdpe1gb",
    "spec-ctrl",
    "ssbd",
    "virt-ssbd",
];

/// Checks the values of the property string that the table calls `name`; the error is the reason.
pub(super) fn check(
    version: u8,
    name: &str,
    keys: &Schema,
    values: &BTreeMap<String, Value>,
) -> Result<(), String> {
    match name {
        "cpu" => cpu(version, keys, values),
        "fleecing" => fleecing(values),
        "prune-backups" => prune(values),
        _ => Ok(()),
    }
}

/// A value that Perl takes for true.
fn truth<'a>(values: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a str> {
    values.get(name).and_then(Value::as_str).filter(|value| !matches!(*value, "" | "0"))
}

fn cpu(version: u8, keys: &Schema, values: &BTreeMap<String, Value>) -> Result<(), String> {
    let kind = truth(values, "cputype").ok_or("CPU is missing cputype")?;
    // No node of the lab defines CPU types of its own.
    if let Some(own) = kind.strip_prefix("custom-") {
        return Err(format!("Custom cputype '{own}' not found"));
    }
    let reported = keys.get("reported-model");
    let of_qemu = reported.is_some_and(|model| model.choices.iter().any(|choice| choice == kind));
    if !of_qemu && !DEFINED_BY_PVE.contains(&kind) {
        return Err(format!("Built-in cputype '{kind}' is not defined (missing 'custom-' prefix?)"));
    }
    if let Some(flags) = truth(values, "flags") {
        let known = if version == 8 { FLAGS_8.as_slice() } else { FLAGS_9.as_slice() };
        if !flags.split(';').all(|flag| known.contains(&flag.trim_start_matches(['+', '-']))) {
            return Err(format!("VM-specific CPU flags must be a subset of: {}", known.join(", ")));
        }
    }
    if values.contains_key("reported-model") {
        return Err("Property 'reported-model' not allowed in VM-specific CPU config.".into());
    }
    Ok(())
}

fn fleecing(values: &BTreeMap<String, Value>) -> Result<(), String> {
    if truth(values, "enabled").is_some() && truth(values, "storage").is_none() {
        return Err("'storage' parameter is required when 'enabled' is set".into());
    }
    Ok(())
}

fn prune(values: &BTreeMap<String, Value>) -> Result<(), String> {
    let keeps = |value: &Value| {
        value.as_str().and_then(|count| count.trim().parse::<f64>().ok()).is_some_and(|count| count > 0.0)
    };
    let others = values.iter().any(|(name, value)| name != "keep-all" && keeps(value));
    if truth(values, "keep-all").is_some() && others {
        return Err("keep-all cannot be set together with other options.".into());
    }
    Ok(())
}
