//! Proving to a node who the operator is: keys of the agent and key files, one after the other.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use ssh2::{ErrorCode, Session};

use super::known_hosts::key_type;

/// Where keys may come from.
pub(super) struct Keys {
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// Files that the operator named, by option or in the SSH configuration.
    pub named: Vec<PathBuf>,
    /// Files that are tried when none is named, if they exist.
    pub usual: Vec<PathBuf>,
    /// A file named by option is tried before the agent: an agent with many keys can use up all tries.
    pub named_first: bool,
}

impl Keys {
    /// Keys that would be tried, and those that cannot be, with the reason.
    pub(super) fn at_hand(&self) -> (Vec<String>, Vec<String>) {
        let (mut keys, mut unusable) = (Vec::new(), Vec::new());
        if let Some(socket) = &self.agent {
            match agent_keys(socket) {
                Ok(found) => keys.extend(found),
                Err(error) => unusable.push(format!("agent at `{}`: {}", socket.display(), error.message())),
            }
        }
        let is_named = !self.named.is_empty();
        for file in if is_named { &self.named } else { &self.usual } {
            let shown = format!("`{}`", file.display());
            match std::fs::read_to_string(file) {
                Ok(text) if is_encrypted(&text) => {
                    unusable.push(format!("{shown} (encrypted, for an agent)"));
                }
                Ok(_) => keys.push(shown),
                Err(error) if is_named || error.kind() != std::io::ErrorKind::NotFound => {
                    unusable.push(format!("{shown} ({error})"));
                }
                Err(_) => {}
            }
        }
        (keys, unusable)
    }
}

fn agent_keys(socket: &Path) -> Result<Vec<String>, ssh2::Error> {
    let mut agent = Session::new()?.agent()?;
    agent.set_identity_path(socket)?;
    agent.connect()?;
    agent.list_identities()?;
    let identities = agent.identities()?;
    Ok(identities.iter().map(|identity| format!("agent key `{}`", identity.comment())).collect())
}

/// libssh2: this key is not accepted, another may be.
const REFUSED: [ErrorCode; 2] = [ErrorCode::Session(-18), ErrorCode::Session(-19)];

/// What was tried so far, and whether it was enough.
struct Attempt<'a> {
    session: &'a Session,
    user: &'a str,
    tried: Vec<String>,
}

/// Logs in, or says in words what was tried.
pub(super) fn authenticate(session: &Session, user: &str, keys: &Keys) -> Result<(), String> {
    let mut attempt = Attempt { session, user, tried: Vec::new() };
    let files = if keys.named.is_empty() { &keys.usual } else { &keys.named };
    let accepted = if keys.named_first {
        attempt.files(files, true) || attempt.agent(keys.agent.as_deref())
    } else {
        attempt.agent(keys.agent.as_deref()) || attempt.files(files, !keys.named.is_empty())
    };
    if accepted {
        return Ok(());
    }
    if attempt.tried.is_empty() {
        attempt.tried.push("there is no agent and no key file".to_owned());
    }
    Err(format!("as user `{user}`: {}", attempt.tried.join("; ")))
}

impl Attempt<'_> {
    fn agent(&mut self, socket: Option<&Path>) -> bool {
        let Some(socket) = socket else { return false };
        self.agent_keys(socket).unwrap_or_else(|error| {
            self.tried.push(format!("agent at `{}`: {}", socket.display(), error.message()));
            false
        })
    }

    fn agent_keys(&mut self, socket: &Path) -> Result<bool, ssh2::Error> {
        let mut agent = self.session.agent()?;
        agent.set_identity_path(socket)?;
        agent.connect()?;
        agent.list_identities()?;
        let identities = agent.identities()?;
        if identities.is_empty() {
            self.tried.push("agent: it holds no key".to_owned());
        }
        for identity in identities {
            let what = format!("agent key `{}` ({})", identity.comment(), key_type(identity.blob()));
            if self.note(&what, agent.userauth(self.user, &identity)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn files(&mut self, files: &[PathBuf], wanted: bool) -> bool {
        files.iter().any(|file| self.file(file, wanted))
    }

    fn file(&mut self, file: &Path, wanted: bool) -> bool {
        let shown = format!("`{}`", file.display());
        match std::fs::read_to_string(file) {
            Err(error) if wanted || error.kind() != std::io::ErrorKind::NotFound => {
                self.tried.push(format!("{shown} ({error})"));
                false
            }
            Err(_) => false,
            Ok(text) if is_encrypted(&text) => {
                self.tried.push(format!(
                    "{shown} (encrypted: give it to the agent with `ssh-add {}`)",
                    file.display()
                ));
                false
            }
            Ok(_) => {
                let result = self.session.userauth_pubkey_file(self.user, None, file, None);
                self.note(&shown, result)
            }
        }
    }

    /// Notes how a key fared; `true` when it was accepted.
    fn note(&mut self, what: &str, result: Result<(), ssh2::Error>) -> bool {
        match result {
            Ok(()) => return true,
            Err(error) if REFUSED.contains(&error.code()) => self.tried.push(format!("{what} (refused)")),
            Err(error) => self.tried.push(format!("{what} ({})", error.message())),
        }
        false
    }
}

/// Whether a private key needs a passphrase.
fn is_encrypted(text: &str) -> bool {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return true;
    }
    let Some((_, rest)) = text.split_once("-----BEGIN OPENSSH PRIVATE KEY-----") else { return false };
    let body: String = rest.split("-----").next().unwrap_or_default().split_whitespace().collect();
    let Ok(bytes) = STANDARD.decode(body) else { return false };
    // A magic word, then the name of the cipher as a string with its length in front.
    bytes.strip_prefix(b"openssh-key-v1\0").is_some_and(|rest| key_type(rest) != "none")
}
