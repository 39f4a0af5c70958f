//! The named formats of values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use regex::Regex;

use super::devices;

/// The places that a container's clock may follow.
const TIME_ZONES: &str = include_str!("../../../data/timezones.txt");

/// Checks a value; the error is the reason, without its line feed.
pub(super) fn check(version: u8, format: &str, value: &str) -> Result<(), String> {
    match format.strip_suffix("-list") {
        Some(item) => items(value).try_for_each(|value| check(version, item, value)),
        None => single(version, format, value),
    }
}

/// The items of a list: commas, semicolons, blanks and zero bytes separate.
fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(|c: char| matches!(c, ',' | ';' | '\0') || c.is_whitespace()).filter(|item| !item.is_empty())
}

fn single(version: u8, format: &str, value: &str) -> Result<(), String> {
    let expect = |ok: bool, text: &str| if ok { Ok(()) } else { Err(text.to_owned()) };
    let looks = |ok: bool, what: &str| expect(ok, &format!("value does not look like a valid {what}"));
    match format {
        "pve-vmid" => looks(is(value, "[1-9][0-9]{2,8}"), "VM ID"),
        "pve-node" => looks(is(value, "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"), "node name"),
        "dns-name" => looks(is_dns_name(value), "DNS name"),
        "pve-storage-id" => storage(version, value),
        "pve-configid" => {
            expect(is(value, "[a-zA-Z][a-zA-Z0-9_-]+"), &format!("invalid configuration ID '{value}'"))
        }
        "pve-volume-id" => volume(value),
        "pve-volume-id-or-qm-path" => {
            let path = matches!(value, "none" | "cdrom") || value.starts_with('/');
            if path { Ok(()) } else { volume(value) }
        }
        "pve-volume-id-or-absolute-path" => {
            if value.starts_with('/') {
                Ok(())
            } else {
                volume(value)
            }
        }
        "pve-ha-resource-or-vm-id" => looks(is(value, r"[a-z]+:\S+|\d+"), "ha resource id"),
        "pve-poolid" => pool(value),
        "pve-startup-order" => {
            let part = |part: &str| is(part, r"(?:(?:order=)?|up=|down=)[0-9]+");
            let fine = value.split(',').filter(|text| !text.is_empty()).all(part);
            expect(fine, "unable to parse startup options")
        }
        "pve-tag" => expect(is(value, r"[a-zA-Z0-9_][a-zA-Z0-9_\-+.]*"), "invalid characters in tag"),
        "pve-storage-path" => looks(has(value, r"^/[^;()]"), "absolute path"),
        "pve-storage-content" => content(value),
        "pve-storage-options" => expect(is(value, r"\S+"), &format!("invalid options '{value}'")),
        "pve-dir-override" => directory(value),
        "pve-storage-server" | "pve-storage-portal-dns" => {
            looks(is_address(value), "server name or IP address")
        }
        "pve-ct-timezone" => expect(is_time_zone(value), &format!("invalid time zone '{value}'")),
        "pve-cpuset" => expect(is_cpu_set(value), "unable to parse cpuset option"),
        "pve-phys-bits" => expect(is_width(value), "value must be an integer between 8 and 64 or 'host'"),
        "CIDR" => looks(is_cidr::<Ipv4Addr>(value, 32) || is_cidr::<Ipv6Addr>(value, 128), "CIDR network"),
        "ipv4" => looks(Ipv4Addr::from_str(line(value)).is_ok(), "IPv4 address"),
        "ipv6" => looks(Ipv6Addr::from_str(line(value)).is_ok(), "IPv6 address"),
        "lxc-ip-with-ll-iface" => looks(is_name_server(value), "IP address"),
        "address" => {
            let fine = IpAddr::from_str(value).is_ok() || is_dns_name(value);
            expect(fine, &format!("value does not look like a valid address: {value}"))
        }
        "pve-ipv4-config" => {
            let fine = matches!(value, "dhcp" | "manual") || is_cidr::<Ipv4Addr>(value, 32);
            looks(fine, "ipv4 network configuration")
        }
        "pve-ipv6-config" => {
            let fine = matches!(value, "auto" | "dhcp" | "manual") || is_cidr::<Ipv6Addr>(value, 128);
            looks(fine, "ipv6 network configuration")
        }
        "mac-addr" => {
            let fine = is(value, "[a-fA-F0-9][02468aceACE](?::[a-fA-F0-9]{2}){5}");
            looks(fine, "unicast MAC address")
        }
        "pve-bridge-id" => expect(is(value, r"[-_.\w\d]+"), &format!("invalid bridge ID '{value}'")),
        "disk-size" => looks(is(value, r"\d+(?:\.\d+)?[KMGT]?"), &format!("disk size: {value}")),
        "urlencoded" => expect(is(value, r"[-%a-zA-Z0-9_.!~*'()]*"), "value is not properly url-encoded"),
        "storage-pair" => storage_pair(version, value),
        "email-or-username" => {
            let pattern = r"[\w+\-~]+(?:\.[\w+\-~]+)*(?:@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*)?";
            looks(is(value, pattern), "email address or user name")
        }
        "pve-hotplug-features" => hotplug(value),
        "pve-qm-bootdev" => expect(devices::is_bootable(value), &format!("invalid boot device '{value}'")),
        "pve-qm-bootdisk" => expect(devices::is_drive(value), &format!("invalid boot disk '{value}'")),
        "pve-lxc-mp-string" => {
            let climbs = has(value, r"/\.\.?/|/\.\.?\n?$|^\.\./");
            expect(!climbs, &format!("{value} contains illegal character sequences"))
        }
        "pve-lxc-dev-string" => {
            let fine = value.starts_with("/dev/") && !has(value, r"/\.\.?(?:/|\n?$)");
            expect(fine, &format!("{value} is not a valid device path"))
        }
        _ => Ok(()),
    }
}

/// A value without its last line feed, in front of which Perl's `$` matches too.
pub(super) fn line(value: &str) -> &str {
    value.strip_suffix('\n').unwrap_or(value)
}

/// Whether a pattern matches all of a value.
fn is(value: &str, pattern: &str) -> bool {
    has(value, &format!("^(?:{pattern})\\n?$"))
}

/// Whether a pattern matches a part of a value.
fn has(value: &str, pattern: &str) -> bool {
    Regex::new(pattern).is_ok_and(|regex| regex.is_match(value))
}

fn is_dns_name(value: &str) -> bool {
    is(value, r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?")
}

fn is_address(value: &str) -> bool {
    IpAddr::from_str(value).is_ok() || is_dns_name(value)
}

/// Whether a value is a network; the real programs know none of less than eight bits.
fn is_cidr<T: FromStr>(value: &str, max: u8) -> bool {
    let parts = line(value).split_once('/');
    parts.is_some_and(|(address, bits)| {
        T::from_str(address).is_ok()
            && is(bits, r"\d+")
            && bits.parse().is_ok_and(|bits: u8| (8..=max).contains(&bits))
    })
}

/// Whether a value is an address; one that is good on one link only may name the interface.
fn is_name_server(value: &str) -> bool {
    match value.split_once('%') {
        Some((address, interface)) => {
            address.starts_with("fe80:")
                && Ipv6Addr::from_str(address).is_ok()
                && is(interface, r"[a-zA-Z][a-zA-Z0-9_]{1,20}(?:[:.]\d+)?")
        }
        None => IpAddr::from_str(value).is_ok(),
    }
}

/// Whether a value lists CPUs; commas at the end are ignored.
fn is_cpu_set(value: &str) -> bool {
    let set = value.trim_end_matches(',');
    set.is_empty() || set.split(',').all(is_cpu_range)
}

fn is_cpu_range(range: &str) -> bool {
    let number = |text: &str| text.trim().parse::<f64>().unwrap_or_default();
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    is(range, r"\s*\d+(?:-\d+)?\s*") && number(from) <= number(to)
}

fn is_width(value: &str) -> bool {
    line(value) == "host"
        || is(value, r"\d{1,2}") && line(value).parse().is_ok_and(|bits: u8| (8..=64).contains(&bits))
}

fn storage(version: u8, value: &str) -> Result<(), String> {
    if version > 8 && value.chars().count() < 2 {
        return Err(format!("storage ID '{value}' cannot be shorter than 2 characters"));
    }
    if !is(value, r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]") {
        return Err(format!("storage ID '{value}' contains illegal characters"));
    }
    Ok(())
}

fn storage_pair(version: u8, value: &str) -> Result<(), String> {
    let pair = value.split_once(':').filter(|(from, to)| !from.is_empty() && is(to, "[^:]+"));
    let ids = match pair {
        _ if value == "1" => Vec::new(),
        Some((from, to)) => vec![from, to],
        None => vec![value],
    };
    // The reason comes with a line feed of each of the two levels it passes.
    let wrapped = |reason| format!("entry '{value}' contains invalid ID - {reason}\n\n");
    ids.into_iter().try_for_each(|id| storage(version, id)).map_err(wrapped)
}

fn content(value: &str) -> Result<(), String> {
    let known = ["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "none", "import"];
    if known.contains(&value) { Ok(()) } else { Err(format!("invalid content type '{value}'")) }
}

/// The directory that a storage keeps one kind of content in.
fn directory(value: &str) -> Result<(), String> {
    let bad = || format!("invalid override '{value}'");
    let (kind, path) = value.split_once('=').ok_or_else(bad)?;
    if !is(kind, "[a-z]+") || !is(path, r"[^.]*(?:\.?[^.]+)+") {
        return Err(bad());
    }
    content(kind)?;
    let length = |text: &str| text.chars().count();
    if length(path) < 1023 && path.split('/').all(|part| length(part) < 255) { Ok(()) } else { Err(bad()) }
}

fn hotplug(value: &str) -> Result<(), String> {
    let known = ["network", "disk", "cpu", "memory", "usb", "cloudinit"];
    let all_or_none = matches!(value, "0" | "1");
    match items(value).find(|item| !known.contains(item)) {
        Some(bad) if !all_or_none => Err(format!("invalid hotplug feature '{bad}'")),
        _ => Ok(()),
    }
}

fn volume(value: &str) -> Result<(), String> {
    if is(value, r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]:.+") {
        Ok(())
    } else {
        Err(format!("unable to parse volume ID '{value}'"))
    }
}

fn pool(value: &str) -> Result<(), String> {
    if value.trim_end_matches('/').split('/').count() > 3 {
        return Err(format!("pool name '{value}' nested too deeply (max levels = 3)"));
    }
    if !is(value, r"[A-Za-z0-9.\-_]+(?:/[A-Za-z0-9.\-_]+)*") {
        return Err(format!("pool name '{value}' contains invalid characters"));
    }
    Ok(())
}

fn is_time_zone(value: &str) -> bool {
    matches!(value, "host" | "UTC") || TIME_ZONES.lines().any(|zone| zone == value)
}
