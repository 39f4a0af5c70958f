//! `pvesh`: the node's API on the command line.

mod cluster;
mod guest;
mod ha;
mod network;
mod node;
mod output;
mod storage;
mod tasks;

use serde_json::Value;
use sha1::Digest;

use super::node::{Failure, Node, Outcome};
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
    route("get", "cluster/ha/resources", ha::resources),
    route("get", "nodes/{node}/version", node::version),
    route("get", "nodes/{node}/time", node::time),
    route("get", "nodes/{node}/network", network::list),
    route("get", "nodes/{node}/storage", storage::list),
    route("get", "nodes/{node}/storage/{storage}/status", storage::status),
    route("get", "nodes/{node}/storage/{storage}/content", storage::content),
    route("get", "nodes/{node}/storage/{storage}/content/{volume}", storage::volume),
    route("set", "nodes/{node}/storage/{storage}/content/{volume}", storage::set_volume),
    route("delete", "nodes/{node}/storage/{storage}/content/{volume}", storage::delete_volume),
    route("get", "nodes/{node}/tasks", tasks::list),
    route("get", "nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", guest::agent_interfaces),
    route("get", "nodes/{node}/lxc/{vmid}/interfaces", guest::container_interfaces),
];

/// Runs `pvesh`; gives its exit status.
pub(super) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    match answer(node, call, io) {
        Ok(answer) => {
            output::print(&answer, call, io);
            0
        }
        Err(failure) => {
            io.complain(&failure.text);
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
    let mut call = call.clone();
    call.params.extend(variables);
    if let Some(name) = call.get("node") {
        is_here(node, name)?;
    }
    (route.handler)(node, &call, io)
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
    let method = call.words.last().map_or("", String::as_str);
    Failure::new(format!(
        "400 Parameter verification failed.\n{problem}\npvesh {method} <api_path> [OPTIONS] [FORMAT_OPTIONS]"
    ))
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
