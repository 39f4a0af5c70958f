//! `pct`: containers.

use super::node::config::Section;
use super::node::property::Properties;
use super::{Failure, GuestKind, Io, Node, Parsed, pct_restore};

mod destroy;
mod download;
mod exec;
mod list;
mod maintain;
mod power;
mod set;

pub(super) use destroy::remove_volumes;
pub(crate) use exec::real_path;
pub(super) use power::start_ct;

const CT: GuestKind = GuestKind::Ct;

/// How many mount points and unused volumes a container can have.
const MANY: usize = 256;

/// The root file system and the mount points with their keys, in the order in which a node goes through them.
pub(super) fn mounts(config: &Section) -> Vec<(String, Properties)> {
    let keys = std::iter::once("rootfs".to_owned()).chain((0..MANY).map(|n| format!("mp{n}")));
    keys.filter_map(|key| Some((key.clone(), Properties::parse(config.get(&key)?)))).collect()
}

/// Volumes that belong to a container and are mounted nowhere.
pub(super) fn unused(config: &Section) -> Vec<(String, String)> {
    let keys = (0..MANY).map(|n| format!("unused{n}"));
    keys.filter_map(|key| Some((key.clone(), config.get(&key)?.to_owned()))).collect()
}

/// The volume behind a mount point; nothing for a folder or device of the host.
pub(super) fn volume(mount: &Properties) -> Option<&str> {
    mount.volume().filter(|volume| !volume.starts_with('/'))
}

pub(super) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    let words: Vec<_> = call.words.iter().skip(1).map(String::as_str).collect();
    let outcome = match words[..] {
        ["restore"] => return pct_restore::main(node, call, io),
        ["create"] => return pct_restore::create::main(node, call, io),
        ["start"] => power::start(node, call, io),
        ["stop"] => power::stop(node, call, io),
        ["shutdown"] => power::shutdown(node, call, io),
        ["destroy"] => destroy::destroy(node, call, io),
        ["set"] => set::set(node, call, io),
        ["unlock"] => set::unlock(node, call),
        ["status"] => list::status(node, call, io),
        ["config"] => list::config(node, call, io),
        ["pending"] => list::pending(node, call, io),
        ["list"] => list::list(node, io),
        ["listsnapshot"] => list::snapshots(node, call, io),
        ["df"] => maintain::df(node, call, io),
        ["mount"] => maintain::mount(node, call, io),
        ["unmount"] => maintain::unmount(node, call, io),
        ["rescan"] => maintain::rescan(node, call, io),
        ["exec"] => exec::exec(node, call, io),
        _ => Err(Failure::new(format!("the lab's pct has no '{}'", words.join(" ")))),
    };
    outcome.unwrap_or_else(|failure| {
        if !failure.text.is_empty() {
            io.complain(&failure.text);
        }
        failure.status
    })
}
