//! `pvesh`: the node's API on the command line.

mod actions;
mod cluster;
mod columns;
mod firewall;
mod guest;
mod ha;
mod jobs;
mod network;
mod node;
mod options;
mod output;
mod storage;
mod tasks;

use serde_json::Value;
use sha1::Digest;

use super::node::{Failure, Node, Outcome, random};
use super::{Io, Parsed};

/// What a call of the API gives back.
pub(super) enum Answer {
    /// Nothing: nothing is printed.
    Nothing,
    /// Anything else, down to `null`.
    Value(Value),
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

type Handler = fn(&Node, &Parsed, &mut Io<'_>) -> Outcome<Answer>;

/// A method of the API. Words in braces are parameters; the last one takes the rest of the path.
struct Route {
    method: &'static str,
    path: &'static str,
    handler: Handler,
}

const fn route(method: &'static str, path: &'static str, handler: Handler) -> Route {
    Route { method, path, handler }
}

const ROUTES: &[Route] = &[
    route("get", "version", node::version),
    route("get", "cluster/status", cluster::status),
    route("get", "cluster/nextid", cluster::next_id),
    route("get", "cluster/resources", cluster::resources),
    route("get", "nodes", node::list),
    route("get", "nodes/{node}/status", node::status),
    route("get", "cluster/backup", jobs::list),
    route("get", "cluster/backup-info/not-backed-up", jobs::not_backed_up),
    route("get", "cluster/ha/resources", ha::resources),
    route("get", "cluster/ha/resources/{sid}", ha::one_resource),
    route("create", "cluster/ha/resources", ha::add),
    route("set", "cluster/ha/resources/{sid}", ha::set),
    route("delete", "cluster/ha/resources/{sid}", ha::remove),
    route("get", "cluster/ha/status/current", ha::status),
    route("get", "storage", storage::configurations),
    route("get", "storage/{storage}", storage::one_configuration),
    route("set", "storage/{storage}", storage::set_configuration),
    route("get", "nodes/{node}/version", node::version),
    route("get", "nodes/{node}/time", node::time),
    route("get", "nodes/{node}/network", network::list),
    route("get", "nodes/{node}/storage", storage::list),
    route("get", "nodes/{node}/storage/{storage}/status", storage::status),
    route("get", "nodes/{node}/storage/{storage}/content", storage::content),
    route("get", "nodes/{node}/storage/{storage}/content/{volume}", storage::volume),
    route("set", "nodes/{node}/storage/{storage}/content/{volume}", storage::set_volume),
    route("delete", "nodes/{node}/storage/{storage}/content/{volume}", storage::delete_volume),
    route("create", "nodes/{node}/storage/{storage}/content", actions::allocate),
    route("get", "nodes/{node}/disks/lvmthin", storage::thin_pools),
    route("get", "nodes/{node}/tasks", tasks::list),
    route("get", "nodes/{node}/tasks/{upid}/status", tasks::status),
    route("get", "nodes/{node}/tasks/{upid}/log", tasks::log),
    route("get", "nodes/{node}/vzdump/extractconfig", storage::stored_config),
    route("get", "nodes/{node}/vzdump/defaults", storage::backup_defaults),
    route("create", "nodes/{node}/vzdump", actions::back_up),
    route("create", "nodes/{node}/qemu", actions::restore_vm),
    route("create", "nodes/{node}/lxc", actions::new_container),
    route("create", "nodes/{node}/qemu/{vmid}/clone", actions::clone),
    route("delete", "nodes/{node}/qemu/{vmid}", actions::destroy),
    route("set", "nodes/{node}/qemu/{vmid}/config", actions::set_config),
    route("create", "nodes/{node}/qemu/{vmid}/status/start", actions::power),
    route("create", "nodes/{node}/qemu/{vmid}/status/stop", actions::power),
    route("create", "nodes/{node}/qemu/{vmid}/status/shutdown", actions::power),
    route("create", "nodes/{node}/qemu/{vmid}/status/reboot", actions::power),
    route("delete", "nodes/{node}/lxc/{vmid}", actions::destroy),
    route("set", "nodes/{node}/lxc/{vmid}/config", actions::set_config),
    route("create", "nodes/{node}/lxc/{vmid}/status/start", actions::power),
    route("create", "nodes/{node}/lxc/{vmid}/status/stop", actions::power),
    route("create", "nodes/{node}/lxc/{vmid}/status/shutdown", actions::power),
    route("create", "nodes/{node}/qemu/{vmid}/agent/ping", actions::ping_agent),
    route("get", "nodes/{node}/qemu", guest::list),
    route("get", "nodes/{node}/qemu/{vmid}/status/current", guest::current),
    route("get", "nodes/{node}/qemu/{vmid}/config", guest::config),
    route("get", "nodes/{node}/qemu/{vmid}/snapshot", guest::snapshots),
    route("get", "nodes/{node}/lxc", guest::list),
    route("get", "nodes/{node}/lxc/{vmid}/status/current", guest::current),
    route("get", "nodes/{node}/lxc/{vmid}/config", guest::config),
    route("get", "nodes/{node}/lxc/{vmid}/snapshot", guest::snapshots),
    route("get", "nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", guest::agent_interfaces),
    route("get", "nodes/{node}/lxc/{vmid}/interfaces", guest::container_interfaces),
    route("get", "nodes/{node}/qemu/{vmid}/firewall/options", firewall::options),
    route("set", "nodes/{node}/qemu/{vmid}/firewall/options", firewall::set_options),
    route("get", "nodes/{node}/qemu/{vmid}/firewall/rules", firewall::rules),
    route("create", "nodes/{node}/qemu/{vmid}/firewall/rules", firewall::add_rule),
    route("delete", "nodes/{node}/qemu/{vmid}/firewall/rules/{pos}", firewall::remove_rule),
    route("get", "nodes/{node}/lxc/{vmid}/firewall/options", firewall::options),
    route("set", "nodes/{node}/lxc/{vmid}/firewall/options", firewall::set_options),
    route("get", "nodes/{node}/lxc/{vmid}/firewall/rules", firewall::rules),
    route("create", "nodes/{node}/lxc/{vmid}/firewall/rules", firewall::add_rule),
    route("delete", "nodes/{node}/lxc/{vmid}/firewall/rules/{pos}", firewall::remove_rule),
];

/// The lists that come in an order. The others have that of a Perl hash, which is another one each time.
const IN_ORDER: [&str; 4] = ["/content", "/tasks", "/log", "/rules"];

/// The options about the output, which every call takes.
const OUTPUT_OPTIONS: [&str; 5] = ["human-readable", "noborder", "noheader", "output-format", "quiet"];

/// Runs `pvesh`; gives its exit status.
pub(super) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    match answer(node, call, io) {
        Ok(answer) => {
            output::print(&answer, call, node.version(), io);
            0
        }
        Err(failure) => {
            if !failure.text.is_empty() {
                io.complain(&failure.text);
            }
            failure.status
        }
    }
}

fn answer(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    let method = call.words.last().map_or("", String::as_str);
    let path = call.get("api_path").unwrap_or_default();
    let found = ROUTES
        .iter()
        .filter(|route| route.method == method)
        .find_map(|route| Some((route, variables(route.path, path)?)));
    let Some((route, variables)) = found else {
        return Err(Failure::with_status(format!("No '{method}' handler defined for '{path}'"), 1));
    };
    options::check(route.path, call)?;
    let mut call = call.clone();
    call.params.extend(variables);
    if let Some(name) = call.get("node") {
        is_here(node, name)?;
    }
    let mut answer = (route.handler)(node, &call, io)?;
    if let Answer::Value(Value::Array(items)) = &mut answer
        && !IN_ORDER.iter().any(|end| route.path.ends_with(end))
    {
        items.sort_by_cached_key(|_| random::number());
    }
    Ok(answer)
}

/// The parameters in a path, if it fits a pattern.
fn variables(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let parts: Vec<&str> = path.trim_matches('/').splitn(pattern.len(), '/').collect();
    if parts.len() != pattern.len() {
        return None;
    }
    let mut found = Vec::new();
    for (word, part) in pattern.iter().zip(parts) {
        match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
            // Only the name of a volume has slashes in it.
            Some(name) if name == "volume" || !part.contains('/') => found.push((name.into(), part.into())),
            None if *word == part => {}
            _ => return None,
        }
    }
    Some(found)
}

/// Calls for other nodes go through SSH, which a simulated node does not have.
fn is_here(node: &Node, name: &str) -> Outcome {
    if name == "localhost" || name == node.name() {
        return Ok(());
    }
    Err(Failure::new(if node.other_nodes().iter().any(|other| other == name) {
        format!("proxy handler failed: ssh: connect to host {name} port 22: No route to host")
    } else {
        format!(
            "hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not known"
        )
    }))
}

/// The digest of a configuration file.
fn digest(text: &str) -> String {
    let bytes = sha1::Sha1::digest(text);
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16));
    bytes.iter().flat_map(digits).flatten().collect()
}

/// The refusal of a parameter.
fn invalid(call: &Parsed, problem: &str) -> Failure {
    Failure::new(format!("400 Parameter verification failed.\n{problem}\n{}", usage(call)))
}

/// The line that shows how a call is written.
fn usage(call: &Parsed) -> String {
    let method = call.words.last().map_or("", String::as_str);
    let path = call.get("api_path").unwrap_or_default().trim_end_matches('/');
    let required = match (method, path.rsplit('/').next()) {
        ("create", Some("qemu")) => " --vmid <integer>",
        ("create", Some("lxc")) => " --ostemplate <string> --vmid <integer>",
        _ => "",
    };
    format!("pvesh {method} <api_path>{required} [OPTIONS] [FORMAT_OPTIONS]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gives_its_parameters() {
        let pattern = "nodes/{node}/storage/{storage}/content/{volume}";
        let found = variables(pattern, "/nodes/pve/storage/local/content/local:backup/x.vma").unwrap();
        let pairs: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("node", "pve"), ("storage", "local"), ("volume", "local:backup/x.vma")]);
        assert_eq!(variables("nodes/{node}", "/nodes/pve/bogus"), None);
        assert_eq!(
            variables("nodes/{node}/time", "nodes/pve/time/"),
            Some(vec![("node".into(), "pve".into())])
        );
    }
}
