//! The part of `~/.ssh/config` that says how to reach a node. The first value found for a keyword wins.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::pattern;

/// What the configuration says about one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostConfig {
    pub host_name: Option<String>,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity_files: Vec<String>,
    pub known_hosts_files: Option<Vec<String>>,
    pub proxy_jump: Option<String>,
    /// Where a `ProxyCommand` stands; it is not supported.
    pub proxy_command: Option<String>,
}

/// How deep files may include one another, as in OpenSSH.
const DEEPEST: usize = 16;

/// Reads what `file` says about the host that the operator calls `alias`. A file that does not exist says nothing.
/// The error says where something is wrong.
pub(super) fn load(file: &Path, home: &Path, alias: &str) -> Result<HostConfig, String> {
    let mut reader = Reader { home, alias, config: HostConfig::default() };
    reader.file(file, true, 0)?;
    Ok(reader.config)
}

struct Reader<'a> {
    home: &'a Path,
    alias: &'a str,
    config: HostConfig,
}

impl Reader<'_> {
    /// Reads one file, whose lines count while `active`, until a `Host` or `Match` in it says otherwise.
    fn file(&mut self, file: &Path, active: bool, depth: usize) -> Result<(), String> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(format!("`{}`: {error}", file.display())),
        };
        let outer = active;
        let mut active = active;
        for (index, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {} of `{}`: {what}", index + 1, file.display());
            let words = words(line).ok_or_else(|| wrong("a quote is not closed"))?;
            let Some((keyword, values)) = words.split_first() else { continue };
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let Some(first) = values.first() else { return Err(wrong(&format!("`{keyword}` has no value"))) };
            match keyword.to_ascii_lowercase().as_str() {
                "host" => active = outer && pattern::matches_list(values, self.alias),
                "match" => active = outer && self.matches(&values, &wrong("")),
                _ if !active => {}
                "include" => {
                    if depth == DEEPEST {
                        return Err(wrong("files include one another too deeply"));
                    }
                    for value in values {
                        for included in self.included(value) {
                            self.file(&included, active, depth + 1)?;
                        }
                    }
                }
                "port" => {
                    let port = first.parse().map_err(|_| wrong(&format!("`{first}` is not a port")))?;
                    self.config.port.get_or_insert(port);
                }
                "identityfile" => self.config.identity_files.push((*first).to_owned()),
                "userknownhostsfile" => {
                    let files = values.iter().map(|value| (*value).to_owned()).collect();
                    self.config.known_hosts_files.get_or_insert(files);
                }
                "hostname" => set(&mut self.config.host_name, first),
                "user" => set(&mut self.config.user, first),
                "proxyjump" => set(&mut self.config.proxy_jump, first),
                "proxycommand" => {
                    let place = wrong("").trim_end_matches([':', ' ']).to_owned();
                    set(&mut self.config.proxy_command, if *first == "none" { first } else { &place });
                }
                // The many other keywords do not change where a connection goes to.
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a `Match` line means the host, as far as that depends on names alone.
    fn matches(&self, criteria: &[&str], place: &str) -> bool {
        let name = self.config.host_name.as_deref().unwrap_or(self.alias);
        match criteria {
            ["all"] => true,
            ["host", patterns] => pattern::matches_list(patterns.split(','), name),
            ["originalhost", patterns] => pattern::matches_list(patterns.split(','), self.alias),
            _ => {
                log::warn!("{place}`Match {}` is not understood and left out", criteria.join(" "));
                false
            }
        }
    }

    /// The files that an `Include` names: relative to `~/.ssh`, with patterns in the last part.
    fn included(&self, value: &str) -> Vec<PathBuf> {
        let path = self.home.join(".ssh").join(expand_home(value, self.home));
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Vec::new();
        };
        if !name.contains(['*', '?']) {
            return vec![path];
        }
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let is_meant = |path: &PathBuf| {
            let found = path.file_name().and_then(|found| found.to_str());
            found.is_some_and(|found| !found.starts_with('.') && pattern::matches(name, found))
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_meant).collect();
        files.sort();
        files
    }
}

fn set(place: &mut Option<String>, value: &str) {
    place.get_or_insert_with(|| value.to_owned());
}

/// `~/` in front, as the home folder.
pub(super) fn expand_home(value: &str, home: &Path) -> PathBuf {
    match value.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(value),
    }
}

/// Replaces `%h`, `%n`, `%p`, `%r` and `%d`; the error names a sign that is not known here.
pub(super) fn expand_signs(value: &str, signs: &[(char, &str)]) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match rest.next() {
            Some('%') => text.push('%'),
            sign => match signs.iter().find(|(known, _)| Some(*known) == sign) {
                Some((_, meaning)) => text.push_str(meaning),
                None => return Err(format!("`%{}` in `{value}` is not supported", sign.unwrap_or(' '))),
            },
        }
    }
    Ok(text)
}

/// The words of a line: the keyword may be followed by `=`, words may be quoted, `#` begins a comment. `None` when a
/// quote is left open.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"')?
        } else {
            let is_end = |c: char| c.is_whitespace() || (c == '=' && words.is_empty());
            rest.split_at(rest.find(is_end).unwrap_or(rest.len()))
        };
        words.push(word.to_owned());
        rest = after.trim_start();
        if words.len() == 1 {
            rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new(config: &str) -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            fs::create_dir(home.0.path().join(".ssh")).unwrap();
            home.write("config", config);
            home
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(".ssh").join(name), text).unwrap();
        }

        fn load(&self, alias: &str) -> Result<HostConfig, String> {
            load(&self.0.path().join(".ssh/config"), self.0.path(), alias)
        }
    }

    #[test]
    fn the_first_value_wins_and_keys_add_up() {
        let home = Home::new(
            "# mine\nHost pve-prod pve\n  HostName 192.168.1.100\n  Port=2222\n  User = admin\n  IdentityFile ~/.ssh/prod\n\
             Host *\n  User root\n  Port 22\n  IdentityFile \"~/.ssh/all of them\"\n  UserKnownHostsFile /a /b\n  ProxyJump jump\n",
        );
        let config = home.load("pve-prod").unwrap();
        assert_eq!(config.host_name.as_deref(), Some("192.168.1.100"));
        assert_eq!((config.user.as_deref(), config.port), (Some("admin"), Some(2222)));
        assert_eq!(config.identity_files, ["~/.ssh/prod", "~/.ssh/all of them"]);
        assert_eq!(config.known_hosts_files, Some(vec!["/a".to_owned(), "/b".to_owned()]));
        assert_eq!(config.proxy_jump.as_deref(), Some("jump"));
        let other = home.load("other").unwrap();
        assert_eq!((other.user.as_deref(), other.port, other.host_name), (Some("root"), Some(22), None));
    }

    #[test]
    fn hosts_that_are_taken_out_are_not_meant() {
        let home = Home::new("Host pve* !pve-old\n  User admin\n");
        assert_eq!(home.load("pve-new").unwrap().user.as_deref(), Some("admin"));
        assert_eq!(home.load("pve-old").unwrap().user, None);
    }

    #[test]
    fn simple_matches_count_and_others_do_not() {
        let home = Home::new(
            "Match exec \"true\"\n  Port 1\nHost pve\n  HostName 10.0.0.1\nMatch host 10.0.0.*\n  Port 2\n\
             Match originalhost pve\n  User admin\nMatch all\n  ProxyJump none\n",
        );
        let config = home.load("pve").unwrap();
        assert_eq!((config.port, config.user.as_deref()), (Some(2), Some("admin")));
        assert_eq!(home.load("other").unwrap().port, None);
    }

    #[test]
    fn included_files_count_where_they_are_included() {
        let home = Home::new("Host pve\n  Include *.conf\n  Port 3\nInclude never\nHost *\n  Port 4\n");
        home.write("a.conf", "Host other\n  Port 1\nHost *\n  User admin\n");
        home.write("b.conf", "User second\n");
        let config = home.load("pve").unwrap();
        assert_eq!((config.user.as_deref(), config.port), (Some("admin"), Some(3)));
        let other = home.load("other").unwrap();
        assert_eq!((other.user, other.port), (None, Some(4)));
    }

    #[test]
    fn what_is_wrong_is_named_by_file_and_line() {
        for (text, expected) in [
            ("Host *\n  Port ssh\n", "line 2 of `FILE`: `ssh` is not a port"),
            ("User\n", "line 1 of `FILE`: `User` has no value"),
            ("IdentityFile \"~/x\n", "line 1 of `FILE`: a quote is not closed"),
            ("Include config\n", "line 1 of `FILE`: files include one another too deeply"),
        ] {
            let home = Home::new(text);
            let file = home.0.path().join(".ssh/config").display().to_string();
            assert_eq!(home.load("pve").unwrap_err(), expected.replace("FILE", &file));
        }
    }

    #[test]
    fn a_proxy_command_is_remembered_with_its_place() {
        let config = Home::new("Host pve\n  ProxyCommand nc %h %p\n").load("pve").unwrap();
        assert!(
            config.proxy_command.as_deref().is_some_and(|place| place.starts_with("line 2 of `")),
            "{config:?}"
        );
    }

    #[test]
    fn signs_are_replaced() {
        let signs = [('h', "pve"), ('r', "root")];
        assert_eq!(expand_signs("%h.lan-%r-100%%", &signs).unwrap(), "pve.lan-root-100%");
        assert_eq!(expand_signs("~/%C", &signs).unwrap_err(), "`%C` in `~/%C` is not supported");
    }

    #[test]
    fn no_file_says_nothing() {
        assert_eq!(
            load(Path::new("/nowhere/config"), Path::new("/nowhere"), "pve"),
            Ok(HostConfig::default())
        );
    }
}
