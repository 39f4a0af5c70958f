//! The text of `--notes-template`.

/// What the variables of a template stand for.
pub(super) struct Variables<'a> {
    /// Name of the cluster; nothing on a single node.
    pub(super) cluster: Option<String>,
    /// Name or host name of the guest.
    pub(super) guestname: String,
    /// Name of this node.
    pub(super) node: &'a str,
    /// Number of the guest.
    pub(super) vmid: u32,
}

/// Fills in a template. Unknown variables were refused with the command line.
pub(super) fn fill(template: &str, variables: &Variables<'_>) -> String {
    let mut text = String::new();
    let mut from = 0;
    while let Some((start, name, end)) = next_variable(template, from) {
        text.push_str(&unescape(&template[from..start]));
        match name {
            "cluster" => text.push_str(variables.cluster.as_deref().unwrap_or("standalone node")),
            "guestname" => text.push_str(&variables.guestname),
            "node" => text.push_str(variables.node),
            "vmid" => text.push_str(&variables.vmid.to_string()),
            _ => {}
        }
        from = end;
    }
    text.push_str(&unescape(&template[from..]));
    text
}

/// The next `{{name}}` at or after `from`: where it starts, its name, where it ends.
fn next_variable(template: &str, from: usize) -> Option<(usize, &str, usize)> {
    let start = from + template[from..].find("{{")?;
    let length = template[start + 2..].find("}}")?;
    let end = start + 2 + length;
    Some((start, &template[start + 2..end], end + 2))
}

/// `\n` is a line break and `\\` a backslash.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, chars.as_str().chars().next()) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('\\')) => out.push('\\'),
            _ => {
                out.push(char);
                continue;
            }
        }
        chars.next();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_escapes_are_filled_in() {
        let variables = Variables { cluster: None, guestname: "oldct".into(), node: "pve", vmid: 200 };
        let template = r"{{guestname}} {{vmid}} {{node}} {{cluster}}\nl2 \\n";
        assert_eq!(fill(template, &variables), "oldct 200 pve standalone node\nl2 \\n");
    }
}
