//! Copies, guests that refuse, and answers that are not about now.

use serde_json::Value;

use super::{CT, Homelab, VM, value};

#[test]
fn trap_17_a_copy_has_the_address_and_the_uuid_of_its_original() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.well(&format!("qmrestore {archive} 150"));
    lab.well(&format!("qmrestore {archive} 151 --unique 1"));
    let config = |vmid| lab.config(vmid).unwrap();
    for key in ["net0", "smbios1"] {
        assert_eq!(value(&config(150), key), value(&config(VM), key));
    }
    assert_ne!(value(&config(151), "net0"), value(&config(VM), "net0"));
}

#[test]
fn trap_18_static_addresses_are_copied_even_so() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.well(&format!("qmrestore {archive} 150 --unique 1"));
    assert_eq!(value(&lab.config(150).unwrap(), "ipconfig0"), Some("ip=192.168.1.50/24,gw=192.168.1.1"));
}

#[test]
fn trap_19_force_overrides_neither_lock_nor_protection_nor_a_running_guest() {
    let lab = Homelab::new();
    let archives = [(VM, lab.backup(VM)), (CT, lab.backup(CT))];
    for (vmid, archive) in archives {
        let tool = if vmid == VM { "qm" } else { "pct" };
        let force = || match vmid {
            VM => lab.run(&format!("qmrestore {archive} {vmid} --force 1")),
            _ => lab.run(&format!("pct restore {vmid} {archive} --storage data --force 1")),
        };
        let before = lab.config(vmid).unwrap();
        for line in ["lock: backup\n", "protection: 1\n"] {
            lab.configure(vmid, line);
            assert_ne!(force().status, 0, "{line}");
            let folder = if vmid == VM { "qemu-server" } else { "lxc" };
            lab.write(&format!("etc/pve/{folder}/{vmid}.conf"), before.as_bytes());
        }
        lab.well(&format!("{tool} start {vmid}"));
        let said = force();
        assert!(said.status != 0 && (said.err.clone() + &said.out).contains("running"), "{said:?}");
        assert_eq!(lab.config(vmid).unwrap(), before);
    }
}

#[test]
fn trap_33_a_guest_under_ha_starts_and_stops_later_and_by_itself() {
    let lab = Homelab::new();
    lab.settings(|settings| settings.ha_lag_ms = 60_000);
    lab.well("qm start 100");
    lab.well("ha-manager add vm:100 --state started");
    let said = lab.well("qm stop 100");
    assert!(said.contains("Requesting HA stop for VM 100"), "{said}");
    assert_eq!(lab.status(VM), "status: running\n", "only the request is there");
}

#[test]
fn trap_34_numbers_are_strings_flags_are_absent_and_lists_have_no_order() {
    let lab = Homelab::new();
    let get = |path: &str| -> Value {
        serde_json::from_str(&lab.well(&format!("pvesh get {path} --output-format json"))).unwrap()
    };
    let config = get("/nodes/pve/qemu/100/config");
    assert!(config["memory"].is_string() && config.get("protection").is_none(), "{config}");
    let order = || -> Vec<u64> {
        let list = get("/cluster/resources --type vm");
        list.as_array().unwrap().iter().map(|guest| guest["vmid"].as_u64().unwrap()).collect()
    };
    let mut seen = std::collections::BTreeSet::new();
    // Two orders are possible: that the same one comes 64 times will not happen.
    for _ in 0..64 {
        seen.insert(order());
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn trap_35_the_resources_of_the_cluster_are_late() {
    let lab = Homelab::new();
    lab.well("qm start 100");
    let list: Value =
        serde_json::from_str(&lab.well("pvesh get /cluster/resources --type vm --output-format json"))
            .unwrap();
    let told = list.as_array().unwrap().iter().find(|guest| guest["vmid"] == VM).unwrap();
    assert_eq!(told["status"], "stopped");
    let now = lab.well("pvesh get /nodes/pve/qemu/100/status/current --output-format json");
    assert_eq!(serde_json::from_str::<Value>(&now).unwrap()["status"], "running");
}

#[test]
fn trap_37_the_configuration_shown_is_not_the_one_in_force() {
    let lab = Homelab::new();
    lab.configure(VM, "\n[PENDING]\nmemory: 4096\n");
    assert!(lab.well("qm config 100").contains("memory: 4096"));
    assert!(lab.well("qm config 100 --current 1").contains("memory: 512"));
}
