//! The links of a guest's network cards: down, a copy can run beside the original without disturbing it.

use restore_common::{
    procedure::{Failure, Run},
    pve::{GuestConfig, GuestKind, Vmid},
    remote::Command,
};

use super::replace::present_config;
use crate::{assignment::Restore, identity::is_card};

/// The network cards in a configuration.
pub fn cards(config: &GuestConfig) -> Vec<(&str, &str)> {
    config.settings().filter(|(key, _)| is_card(key)).collect()
}

/// Whether a card's link is down.
pub fn is_down(value: &str) -> bool {
    value.split(',').any(|part| part == "link_down=1")
}

/// Sets every card anew: the rest of its settings stays, its MAC address above all.
pub fn command(kind: GuestKind, target: Vmid, cards: &[(&str, &str)], down: bool) -> Command {
    let set = Command::write(kind.tool()).args(["set", &target.to_string()]);
    cards.iter().fold(set, |command, (key, value)| {
        let rest = value.split(',').filter(|part| !part.starts_with("link_down="));
        let parts: Vec<_> = rest.chain(down.then_some("link_down=1")).collect();
        command.arg(format!("--{key}")).arg(parts.join(","))
    })
}

/// Step: all links of the guest are down before it is started.
pub fn set_down(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let (kind, target) = (restore.what.kind, restore.what.target);
    let Some(config) = present_config(restore)? else {
        return Err(Failure::new(format!("{} has no configuration", restore.what.target_name())).into());
    };
    let cards = cards(&config);
    restore.found.links_up = Some(command(kind, target, &cards, false).to_string());
    if !cards.iter().all(|(_, value)| is_down(value)) {
        run.command(restore.host, &command(kind, target, &cards, true))?;
    }
    Ok(Some(cards.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_keeps_the_rest_of_its_settings() {
        let cards =
            [("net0", "virtio=BC:24:11:00:00:65,link_down=0,bridge=vmbr0"), ("net1", "e1000,link_down=1")];
        let set = |down| command(GuestKind::Qemu, "901".parse().unwrap(), &cards, down).to_string();
        assert_eq!(
            set(true),
            "qm set 901 --net0 virtio=BC:24:11:00:00:65,bridge=vmbr0,link_down=1 --net1 e1000,link_down=1"
        );
        assert_eq!(set(false), "qm set 901 --net0 virtio=BC:24:11:00:00:65,bridge=vmbr0 --net1 e1000");
        assert!(is_down(cards[1].1) && !is_down(cards[0].1));
    }
}
