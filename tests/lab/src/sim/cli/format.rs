//! The named formats of values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use regex::Regex;

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
        "pve-ha-resource-or-vm-id" => {
            looks(is(value, r"\S+:\S+") || is(value, "[0-9]+"), "ha resource or vm id")
        }
        "pve-poolid" => pool(value),
        "pve-startup-order" => {
            let part = |part: &str| is(part, r"(?:(?:order=)?|up=|down=)[0-9]+");
            let fine = value.split(',').filter(|text| !text.is_empty()).all(part);
            expect(fine, "unable to parse startup options")
        }
        "pve-tag" => expect(is(value, r"[a-zA-Z0-9_][a-zA-Z0-9_\-+.]*"), "invalid characters in tag"),
        "pve-storage-path" => looks(is(value, r"/[^;()]+.*"), "path"),
        "pve-storage-content" => {
            let known = ["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "none", "import"];
            expect(known.contains(&value), &format!("invalid content type '{value}'"))
        }
        "pve-storage-server" | "pve-storage-portal-dns" => {
            looks(is_address(value), "server name or IP address")
        }
        "pve-ct-timezone" => expect(is_time_zone(value), &format!("invalid time zone '{value}'")),
        "pve-cpuset" => {
            expect(is(value, r"\s*\d+(?:-\d+)?(?:\s*,\s*\d+(?:-\d+)?)*"), "unable to parse cpuset")
        }
        "CIDR" => looks(is_cidr::<Ipv4Addr>(value, 32) || is_cidr::<Ipv6Addr>(value, 128), "CIDR network"),
        "ipv4" => looks(Ipv4Addr::from_str(value).is_ok(), "IPv4 address"),
        "ipv6" => looks(Ipv6Addr::from_str(value).is_ok(), "IPv6 address"),
        "lxc-ip-with-ll-iface" => {
            let address = value.split_once('%').map_or(value, |(address, _)| address);
            looks(IpAddr::from_str(address).is_ok(), "IP address")
        }
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
        "pve-bridge-id" => expect(is(value, r"[-_.\w\d]+"), "invalid bridge ID"),
        "disk-size" => looks(is(value, r"\d+(?:\.\d+)?[KMGT]?"), &format!("disk size: {value}")),
        "urlencoded" => expect(is(value, r"[-%a-zA-Z0-9_.!~*'()]*"), "value is not properly url-encoded"),
        "storage-pair" => storage_pair(version, value),
        "email-or-username" => looks(
            is(value, r"[^\s@]+@[^\s@]+") || is(value, r"[\w-]+(?:@[\w-]+)?"),
            "email address or user name",
        ),
        "pve-hotplug-features" => {
            let known = ["1", "0", "network", "disk", "cpu", "memory", "usb", "cloudinit"];
            let bad = items(value).find(|item| !known.contains(item));
            bad.map_or(Ok(()), |bad| Err(format!("unable to parse hotplug option '{bad}'")))
        }
        "prune-backups" => prune(value),
        _ => Ok(()),
    }
}

/// Whether a pattern matches all of a value.
fn is(value: &str, pattern: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(value))
}

fn is_dns_name(value: &str) -> bool {
    is(value, r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?")
}

fn is_address(value: &str) -> bool {
    IpAddr::from_str(value).is_ok() || is_dns_name(value)
}

fn is_cidr<T: FromStr>(value: &str, max: u8) -> bool {
    let parts = value.split_once('/');
    parts.is_some_and(|(address, bits)| {
        T::from_str(address).is_ok() && is(bits, r"\d{1,3}") && bits.parse().is_ok_and(|bits: u8| bits <= max)
    })
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
    if value == "1" {
        return Ok(());
    }
    value.splitn(2, ':').try_for_each(|id| storage(version, id))
}

fn volume(value: &str) -> Result<(), String> {
    if is(value, r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]:.+") {
        Ok(())
    } else {
        Err(format!("unable to parse volume ID '{value}'"))
    }
}

fn pool(value: &str) -> Result<(), String> {
    if value.split('/').count() > 3 {
        return Err(format!("pool name '{value}' nested too deeply (max levels = 3)"));
    }
    if !is(value, r"[A-Za-z0-9.\-_]+(?:/[A-Za-z0-9.\-_]+)*") {
        return Err(format!("invalid pool name '{value}'"));
    }
    Ok(())
}

fn prune(value: &str) -> Result<(), String> {
    let keeps_all = value.split(',').any(|part| matches!(part.trim(), "keep-all=1"));
    let others = value.split(',').any(|part| !part.starts_with("keep-all") && !part.ends_with("=0"));
    if keeps_all && others {
        return Err("keep-all cannot be set together with other options.".into());
    }
    Ok(())
}

fn is_time_zone(value: &str) -> bool {
    const AREAS: &[&str] = &[
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
        "Etc",
        "US",
        "Canada",
    ];
    let in_area =
        value.split_once('/').is_some_and(|(area, city)| AREAS.contains(&area) && is(city, r"[\w+/-]+"));
    in_area || matches!(value, "host" | "UTC" | "GMT")
}
