//! Checks that the operator writes: `[[guests.VMID.checks]]` of `restore.toml`.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::probe::{Http, HttpUrl, Manner, http};

/// What stands for the guest's address in a URL.
pub const ADDRESS: &str = "{address}";

/// A check of the operator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCheck {
    /// What it shows: `the shop answers`.
    pub name: String,
    /// What is asked.
    pub asks: Asks,
    /// How long the answer may take; without it, as long as the guest may take to come up.
    pub within: Option<Duration>,
}

/// What a check asks, and what answer it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A TCP port of the guest has to be open.
    Port(u16),
    /// A URL has to answer.
    Http(AsksHttp),
    /// A command in the guest has to succeed: the program and its arguments.
    Command(Vec<String>),
}

/// A URL and the answer that it has to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsksHttp {
    /// The URL, in which `{address}` may stand for the guest's address.
    pub url: String,
    /// The status it has to have; without it, any below 400.
    pub status: Option<u16>,
    /// What has to be in the body.
    pub text: Option<String>,
    /// Any certificate will do, as services in a homelab sign their own.
    pub insecure: bool,
}

impl AsksHttp {
    /// Asks once whoever is at this address: what was seen of an answer that is the one that is wanted, or of another.
    pub fn ask(&self, address: &str, limit: Duration) -> Result<String, String> {
        let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let url = HttpUrl::parse(&self.url.replace(ADDRESS, &address)).map_err(str::to_owned)?;
        let manner = Manner { insecure: self.insecure, ..Manner::default() };
        self.judge(&url, &http(&url, &manner, limit))
    }

    /// Whether an answer is the one that is wanted. Neither body nor text is shown.
    fn judge(&self, url: &HttpUrl, answer: &Http) -> Result<String, String> {
        let Http::Answered { status, .. } = answer else { return Err(format!("{url}: {answer}")) };
        if !self.status.map_or(*status < 400, |wanted| wanted == *status) {
            let wanted = self.status.map_or_else(|| "below 400".to_owned(), |wanted| wanted.to_string());
            return Err(format!("{url}: {answer} instead of {wanted}"));
        }
        match &self.text {
            None => Ok(format!("{url}: {answer}")),
            Some(text) if answer.has(text) => Ok(format!("{url}: {answer}, with the text")),
            Some(_) => Err(format!("{url}: {answer}, without the text that is wanted")),
        }
    }
}

/// A check as it stands in the file.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// What it shows in plan and report; without it, a name is made of what is asked.
    name: Option<String>,
    /// A TCP port of the guest that must be open.
    port: Option<u16>,
    /// A URL that must answer this machine; `{address}` stands for the guest's address.
    http: Option<String>,
    /// With `http`: the status that is wanted; without it, any below 400.
    status: Option<u16>,
    /// With `http`: what must be in the first MiB of the body.
    text: Option<String>,
    /// With `http`: any certificate will do, as services in a homelab sign their own.
    insecure: Option<bool>,
    /// A program in the guest and its arguments, which must end with status 0.
    command: Option<Vec<String>>,
    /// Seconds that the answer may take; without it, as long as the guest may take to come up.
    within: Option<u64>,
}

impl Written {
    /// The first key that only means something beside `http`.
    fn key_of_http(&self) -> Option<&'static str> {
        let keys = [
            ("status", self.status.is_some()),
            ("text", self.text.is_some()),
            ("insecure", self.insecure.is_some()),
        ];
        keys.into_iter().find(|(_, is_there)| *is_there).map(|(key, _)| key)
    }

    fn asks(&self) -> Result<Asks, String> {
        if self.http.is_none()
            && let Some(key) = self.key_of_http()
        {
            return Err(format!("`{key}` says what `http` has to answer, and this check has no `http`"));
        }
        match (self.port, &self.http, &self.command) {
            (Some(0), None, None) => Err("`port` is 0; a port is between 1 and 65535".to_owned()),
            (Some(port), None, None) => Ok(Asks::Port(port)),
            (None, Some(url), None) => self.asks_http(url).map(Asks::Http),
            (None, None, Some(words)) if words.first().is_none_or(String::is_empty) => {
                Err("`command` is empty; it is a list of the program and its arguments".to_owned())
            }
            (None, None, Some(words)) => Ok(Asks::Command(words.clone())),
            (None, None, None) => {
                Err("this check asks nothing; give it one of `port`, `http` and `command`".to_owned())
            }
            _ => Err("a check asks one thing: either `port` or `http` or `command`".to_owned()),
        }
    }

    fn asks_http(&self, url: &str) -> Result<AsksHttp, String> {
        // Any address will do to see whether the rest of it is right.
        HttpUrl::parse(&url.replace(ADDRESS, "127.0.0.1")).map_err(|reason| format!("`http`: {reason}"))?;
        if self.status.is_some_and(|status| !(100..=599).contains(&status)) {
            return Err("`status` is between 100 and 599".to_owned());
        }
        if self.text.as_deref() == Some("") {
            return Err("`text` is empty, which is in every answer".to_owned());
        }
        Ok(AsksHttp {
            url: url.to_owned(),
            status: self.status,
            text: self.text.clone(),
            insecure: self.insecure.unwrap_or_default(),
        })
    }
}

impl<'de> Deserialize<'de> for OwnCheck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table)
    }
}

/// Judges a check while its table is read: an error knows its place only then.
struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = OwnCheck;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OwnCheck, A::Error> {
        let written = Written::deserialize(MapAccessDeserializer::new(map))?;
        OwnCheck::try_from(written).map_err(A::Error::custom)
    }
}

impl TryFrom<Written> for OwnCheck {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let asks = written.asks()?;
        if written.within == Some(0) {
            return Err("`within` is 0; a check needs a second at least".to_owned());
        }
        // Arguments and queries may hold what is nobody's business, so a name is made without them.
        let name = match (&written.name, &asks) {
            (Some(name), _) if name.trim().is_empty() => return Err("`name` is empty".to_owned()),
            (Some(name), _) => name.clone(),
            (None, Asks::Port(port)) => format!("TCP port {port} answers"),
            (None, Asks::Http(http)) => {
                format!("{} answers", http.url.split(['?', '#']).next().unwrap_or_default())
            }
            (None, Asks::Command(words)) => format!("`{}` succeeds in the guest", words[0]),
        };
        Ok(Self { name, asks, within: written.within.map(Duration::from_secs) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<OwnCheck, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn each_kind_is_read() {
        let http = check(
            "name = \"the shop answers\"\nhttp = \"https://{address}:8443/health?key=x\"\nstatus = 200\n\
             text = \"ok\"\ninsecure = true\nwithin = 60\n",
        )
        .unwrap();
        let asks = Asks::Http(AsksHttp {
            url: "https://{address}:8443/health?key=x".to_owned(),
            status: Some(200),
            text: Some("ok".to_owned()),
            insecure: true,
        });
        let within = Some(Duration::from_secs(60));
        assert_eq!(http, OwnCheck { name: "the shop answers".to_owned(), asks, within });
        assert_eq!(check("port = 5432\n").unwrap().asks, Asks::Port(5432));
        let command = check("command = [\"systemctl\", \"is-active\", \"nginx\"]\n").unwrap();
        assert_eq!(
            command.asks,
            Asks::Command(["systemctl", "is-active", "nginx"].map(str::to_owned).to_vec())
        );
    }

    #[rstest::rstest]
    #[case("port = 1\n", "TCP port 1 answers")]
    #[case("http = \"http://{address}/a?token=secret#x\"\n", "http://{address}/a answers")]
    #[case("command = [\"mysqladmin\", \"-psecret\", \"ping\"]\n", "`mysqladmin` succeeds in the guest")]
    fn a_name_that_is_made_holds_no_secret(#[case] text: &str, #[case] name: &str) {
        assert_eq!(check(text).unwrap().name, name);
    }

    #[rstest::rstest]
    #[case("name = \"x\"\n", "this check asks nothing; give it one of `port`, `http` and `command`")]
    #[case(
        "port = 1\ncommand = [\"true\"]\n",
        "a check asks one thing: either `port` or `http` or `command`"
    )]
    #[case(
        "port = 1\nstatus = 200\n",
        "`status` says what `http` has to answer, and this check has no `http`"
    )]
    #[case(
        "command = [\"true\"]\ninsecure = true\n",
        "`insecure` says what `http` has to answer, and this check has no `http`"
    )]
    #[case("command = []\n", "`command` is empty; it is a list of the program and its arguments")]
    #[case("command = \"true\"\n", "invalid type: string \"true\", expected a sequence")]
    #[case("port = 0\n", "`port` is 0; a port is between 1 and 65535")]
    #[case("port = 65536\n", "invalid value: integer `65536`, expected u16")]
    #[case("http = \"http://a/\"\nstatus = 99\n", "`status` is between 100 and 599")]
    #[case("http = \"http://a/\"\ntext = \"\"\n", "`text` is empty, which is in every answer")]
    #[case("http = \"ftp://a/\"\n", "`http`: a URL begins with `http://` or `https://`")]
    #[case("port = 1\nwithin = 0\n", "`within` is 0; a check needs a second at least")]
    #[case("port = 1\nname = \" \"\n", "`name` is empty")]
    fn what_cannot_be_meant_is_refused(#[case] text: &str, #[case] reason: &str) {
        assert_eq!(check(text).unwrap_err(), reason);
    }

    fn judged(status: Option<u16>, text: Option<&str>, answer: &Http) -> Result<String, String> {
        let (url, text) = ("http://a/b?key=secret".to_owned(), text.map(str::to_owned));
        let parsed = HttpUrl::parse(&url).unwrap();
        AsksHttp { url, status, text, insecure: false }.judge(&parsed, answer)
    }

    #[test]
    fn status_and_text_both_count() {
        let answer = |status| Http::Answered { status, body: b"all is well".to_vec() };
        assert_eq!(judged(None, None, &answer(302)), Ok("http://a/b: status 302".to_owned()));
        assert_eq!(
            judged(None, None, &answer(404)),
            Err("http://a/b: status 404 instead of below 400".to_owned())
        );
        assert_eq!(judged(Some(404), None, &answer(404)), Ok("http://a/b: status 404".to_owned()));
        assert_eq!(
            judged(Some(200), None, &answer(204)),
            Err("http://a/b: status 204 instead of 200".to_owned())
        );
        assert_eq!(
            judged(None, Some("well"), &answer(200)),
            Ok("http://a/b: status 200, with the text".to_owned())
        );
        let without = "http://a/b: status 200, without the text that is wanted";
        assert_eq!(judged(None, Some("ill"), &answer(200)), Err(without.to_owned()));
    }
}
