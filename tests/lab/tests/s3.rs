//! The embedded S3 server answers as MinIO does, and is broken in every way it promises.
#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream},
    time::{Duration, Instant},
};

use restore_lab::s3::{Answer, Client, Credentials, Embedded, Engine, Fault, Options, S3Server};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

const VERSIONING: &[(&str, &str)] = &[("versioning", "")];

fn versioning(status: &str) -> Vec<u8> {
    format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>").into_bytes()
}

/// What a server was asked and what it answered, without what differs each time.
struct Transcript {
    client: Client,
    /// IDs of versions in the order in which they were seen.
    ids: Vec<String>,
    lines: Vec<String>,
}

impl Transcript {
    fn new(client: Client) -> Self {
        Self { client, ids: Vec::new(), lines: Vec::new() }
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let answer = self.client.send(method, path, query, headers, body).unwrap();
        let asked = format!("{method} {path} {query:?} {headers:?}");
        self.note(&asked, &answer);
        answer
    }

    fn note(&mut self, asked: &str, answer: &Answer) {
        let mut line = format!("{asked}: {} {}", answer.status, answer.error_code().unwrap_or_default());
        let headers =
            ["content-range", "content-type", "etag", "location", "x-amz-delete-marker", "x-amz-version-id"];
        for name in headers {
            // Of an object; the type of everything else is XML, whatever a server calls it.
            let is_object = answer.status < 300 && answer.headers.contains_key("etag");
            if name == "content-type" && !is_object {
                continue;
            }
            if let Some(value) = answer.headers.get(name) {
                line.push_str(&format!(" {name}={value}"));
            }
        }
        if let Some(id) = answer.headers.get("x-amz-version-id")
            && !self.ids.contains(id)
            && id != "null"
        {
            self.ids.push(id.clone());
        }
        for (at, id) in self.ids.iter().enumerate() {
            line = line.replace(id.as_str(), &format!("V{at}"));
        }
        self.lines.push(line);
    }

    fn put(&mut self, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.ask("PUT", key, &[], headers, body)
    }

    fn get(&mut self, path: &str, query: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, query, &[], &[])
    }
}

/// Everything that a client of a state bucket may ask, and what it may get wrong.
fn everything(server: &dyn S3Server) -> Vec<String> {
    let mut t = Transcript::new(server.client().unwrap());
    buckets(&mut t);
    objects(&mut t);
    versions(&mut t);
    conditions(&mut t);
    suspended(&mut t);
    logins(&mut t, server.credentials());
    t.lines
}

fn buckets(t: &mut Transcript) {
    t.get("/", &[]);
    t.get("/absent", &[]);
    t.get("/absent/key", &[]);
    t.put("/absent/key", &[], b"x");
    t.ask("HEAD", "/absent", &[], &[], &[]);
    t.get("/absent", &[("versions", "")]);
    t.get("/absent", VERSIONING);
    t.put("/bucket", &[], b"");
    t.put("/bucket", &[], b"");
    t.put("/In_Valid", &[], b"");
    t.ask("HEAD", "/bucket", &[], &[], &[]);
    t.get("/bucket", &[("location", "")]);
    for answer in [t.get("/bucket", VERSIONING), t.get("/", &[])] {
        t.lines.push(format!("status: {}", answer.text().contains("<Status>")));
        t.lines.push(format!("bucket: {}", answer.text().contains("<Name>bucket</Name>")));
    }
    t.ask("PUT", "/bucket", VERSIONING, &[], &versioning("Sometimes"));
}

fn objects(t: &mut Transcript) {
    t.put("/bucket/plain", &[("content-type", "application/json"), ("x-amz-meta-who", "me")], b"{}");
    t.get("/bucket/plain", &[]);
    t.ask("HEAD", "/bucket/plain", &[], &[], &[]);
    t.put("/bucket/plain", &[], b"0123456789");
    for range in ["bytes=2-4", "bytes=8-", "bytes=-3", "bytes=20-"] {
        let answer = t.ask("GET", "/bucket/plain", &[], &[("range", range)], &[]);
        if answer.status < 300 {
            t.lines.push(answer.text());
        }
    }
    t.get("/bucket/absent", &[]);
    t.ask("HEAD", "/bucket/absent", &[], &[], &[]);
    t.put("/bucket/digest", &[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")], b"not empty");
    t.put("/bucket/digest", &[("x-amz-checksum-crc32", "AAAAAA==")], b"not empty");
    let other = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    t.put("/bucket/digest", &[("x-amz-content-sha256", other)], b"not empty");
    t.get("/bucket/digest", &[]);
    t.ask("DELETE", "/bucket/plain", &[], &[], &[]);
    t.ask("DELETE", "/bucket/plain", &[], &[], &[]);
    t.get("/bucket/plain", &[]);
    t.put("/bucket/env:/a b/terraform.tfstate", &[], b"workspace");
    t.put("/bucket/env:/c/terraform.tfstate", &[], b"workspace");
    t.put("/bucket/z", &[], b"z");
    for query in [
        &[("list-type", "2"), ("prefix", "env:/")][..],
        &[("list-type", "2"), ("delimiter", "/")][..],
        &[("list-type", "2"), ("max-keys", "1")][..],
        &[("list-type", "2"), ("start-after", "env:/c/terraform.tfstate")][..],
    ] {
        let text = t.get("/bucket", query).text();
        let keys: Vec<_> = text.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
        let common = text.matches("<CommonPrefixes>").count();
        let more = text.contains("<IsTruncated>true");
        t.lines.push(format!("{keys:?}, {common} common, more: {more}"));
    }
}

fn versions(t: &mut Transcript) {
    let bucket = "/bucket";
    t.ask("PUT", bucket, VERSIONING, &[], &versioning("Enabled"));
    t.put("/bucket/plain2", &[], b"before");
    let key = "/bucket/state";
    let ids: Vec<String> = ["one", "two", "three"]
        .iter()
        .map(|text| t.put(key, &[], text.as_bytes()).headers["x-amz-version-id"].clone())
        .collect();
    for id in &ids {
        let text = t.get(key, &[("versionId", id)]).text();
        t.lines.push(text);
        t.ask("HEAD", key, &[("versionId", id)], &[], &[]);
    }
    t.get("/bucket/z", &[("versionId", "null")]);
    t.get(key, &[("versionId", "null")]);
    t.get(key, &[("versionId", "nonsense")]);
    t.get(key, &[("versionId", "11111111-2222-4333-8444-555555555555")]);
    t.ask("HEAD", key, &[("versionId", "11111111-2222-4333-8444-555555555555")], &[], &[]);
    let marker = t.ask("DELETE", key, &[], &[], &[]).headers["x-amz-version-id"].clone();
    t.get(key, &[]);
    t.ask("HEAD", key, &[], &[], &[]);
    t.get(key, &[("versionId", &marker)]);
    t.ask("HEAD", key, &[("versionId", &marker)], &[], &[]);
    pages(t, bucket);
    t.ask("DELETE", key, &[("versionId", &marker)], &[], &[]);
    t.ask("DELETE", key, &[("versionId", &ids[1])], &[], &[]);
    t.ask("DELETE", key, &[("versionId", &ids[1])], &[], &[]);
    t.ask("DELETE", key, &[("versionId", "nonsense")], &[], &[]);
    let text = t.get(key, &[]).text();
    t.lines.push(text);
    t.ask("DELETE", "/bucket/never-there", &[], &[], &[]);
    for _ in 0..2 {
        t.ask("DELETE", "/bucket/plain2", &[], &[], &[]);
    }
    pages(t, bucket);
    t.ask("DELETE", bucket, &[], &[], &[]);
}

/// Lists all versions of a bucket, two at a time.
fn pages(t: &mut Transcript, bucket: &str) {
    let (mut key, mut version) = (String::new(), String::new());
    loop {
        let mut query = vec![("versions", ""), ("max-keys", "2")];
        if !key.is_empty() {
            query.extend([("key-marker", key.as_str()), ("version-id-marker", version.as_str())]);
        }
        let text = t.client.send("GET", bucket, &query, &[], &[]).unwrap().text();
        let inner = |text: &str, name: &str| {
            let rest = text.split_once(&format!("<{name}>")).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split_once('<')).map(|(value, _)| value.to_owned()).unwrap_or_default()
        };
        let mut listed = Vec::new();
        for kind in ["Version", "DeleteMarker"] {
            for line in text.split(&format!("<{kind}>")).skip(1) {
                let line = line.split(&format!("</{kind}>")).next().unwrap();
                let id = inner(line, "VersionId");
                let id = t.ids.iter().position(|known| *known == id).map_or(id, |at| format!("V{at}"));
                let said = ["Key", "IsLatest", "ETag"].map(|name| inner(line, name).replace("&#34;", "\""));
                listed.push(format!("{kind} {id} {said:?}"));
            }
        }
        // One server says all versions, then all markers; the other one after another.
        listed.sort();
        t.lines.push(format!("page: {listed:?} more: {}", inner(&text, "IsTruncated")));
        if inner(&text, "IsTruncated") != "true" {
            return;
        }
        (key, version) = (inner(&text, "NextKeyMarker"), inner(&text, "NextVersionIdMarker"));
    }
}

fn conditions(t: &mut Transcript) {
    let key = "/bucket/lock.tflock";
    t.put(key, &[("if-match", "\"00000000000000000000000000000000\"")], b"lock");
    t.put(key, &[("if-match", "*")], b"lock");
    let tag = t.put(key, &[("if-none-match", "*")], b"lock").headers["etag"].clone();
    t.put(key, &[("if-none-match", "*")], b"other");
    t.put(key, &[("if-none-match", &tag)], b"other");
    t.put(key, &[("if-match", &tag)], b"mine");
    t.put(key, &[("if-match", &tag)], b"stale");
    t.put(key, &[("if-match", "*")], b"any");
    t.put(key, &[("if-none-match", &tag)], b"not that");
    t.ask("DELETE", key, &[], &[], &[]);
    // Behind a delete marker there is nothing.
    t.put(key, &[("if-none-match", "*")], b"again");
    t.ask("DELETE", key, &[], &[], &[]);
    t.put(key, &[("if-match", &tag)], b"gone");
}

fn suspended(t: &mut Transcript) {
    t.ask("PUT", "/bucket", VERSIONING, &[], &versioning("Suspended"));
    let text = t.get("/bucket", VERSIONING).text();
    t.lines.push(format!("suspended: {}", text.contains("<Status>Suspended</Status>")));
    t.put("/bucket/state", &[], b"null one");
    t.put("/bucket/state", &[], b"null two");
    t.get("/bucket/state", &[]);
    t.get("/bucket/state", &[("versionId", "null")]);
    pages(t, "/bucket");
    t.ask("DELETE", "/bucket/state", &[], &[], &[]);
    t.get("/bucket/state", &[]);
    t.ask("DELETE", "/bucket/state", &[], &[], &[]);
    t.ask("DELETE", "/bucket/never-there", &[], &[], &[]);
    pages(t, "/bucket");
}

fn logins(t: &mut Transcript, credentials: &Credentials) {
    let unsigned = t.client.send_unsigned("GET", "/bucket").unwrap();
    t.note("unsigned list", &unsigned);
    let unsigned = t.client.send_unsigned("GET", "/bucket/z").unwrap();
    t.note("unsigned get", &unsigned);
    let unknown = Credentials { access_key: "nobody".to_owned(), ..credentials.clone() };
    let wrong = Credentials { secret_key: "wrong-password".to_owned(), ..credentials.clone() };
    for (who, client) in [
        ("unknown", t.client.clone().with_credentials(unknown)),
        ("wrong secret", t.client.clone().with_credentials(wrong)),
        ("an hour late", t.client.clone().with_clock(-3600)),
        ("an hour early", t.client.clone().with_clock(3600)),
        ("ten minutes late", t.client.clone().with_clock(-600)),
    ] {
        let answer = client.send("HEAD", "/bucket/z", &[], &[], &[]).unwrap();
        t.note(&format!("{who} asks for the head"), &answer);
        let answer = client.send("GET", "/bucket/z", &[], &[], &[]).unwrap();
        t.note(who, &answer);
    }
    for path in ["/minio/health/live", "/minio/health/ready"] {
        let healthy = t.client.send_unsigned("GET", path).unwrap();
        t.lines.push(format!("{path}: {} {:?}", healthy.status, healthy.text()));
    }
}

#[test]
fn the_embedded_server_answers_as_minio_does() {
    let Some(real) = Engine::MinIo.start(&Options::default()).unwrap() else { return };
    let embedded = Embedded::start(&Options::default()).unwrap();
    let (wanted, found) = (everything(&*real), everything(&embedded));
    let different: Vec<_> = wanted
        .iter()
        .zip(&found)
        .filter(|(wanted, found)| wanted != found)
        .map(|(wanted, found)| format!("MinIO:    {wanted}\nembedded: {found}"))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(wanted.len(), found.len());
    assert!(wanted.len() > 100, "only {} answers were compared", wanted.len());
}

#[rstest::rstest]
#[case(Engine::Embedded)]
#[case(Engine::MinIo)]
fn a_server_that_was_killed_comes_back_with_its_data(#[case] engine: Engine) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { folder: Some(folder.path().to_owned()), ..Options::default() };
    let Some(mut server) = engine.start(&options).unwrap() else { return };
    let client = server.client().unwrap();
    client.create_bucket("bucket", true).unwrap();
    let first = client.put("bucket", "key", b"one").unwrap();
    client.put("bucket", "key", b"two").unwrap();
    client.delete("bucket", "key", None).unwrap();
    let before = client.versions("bucket", "key").unwrap();
    assert_eq!(before.len(), 3);
    assert!(before[0].is_marker && before[0].is_latest, "{before:?}");

    let endpoint = server.endpoint();
    server.stop().unwrap();
    let refused = client.versions("bucket", "key").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{refused}");
    server.start_again().unwrap();
    assert_eq!(server.endpoint(), endpoint);
    assert_eq!(client.versions("bucket", "key").unwrap(), before);
    assert_eq!(client.get("bucket", "key", Some(&first)).unwrap(), b"one");
}

#[rstest::rstest]
#[case(Engine::Embedded)]
#[case(Engine::MinIo)]
fn https_is_trusted_by_those_who_know_the_authority(
    #[case] engine: Engine,
    #[values(IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST))] address: IpAddr,
) {
    let options = Options { address, tls: true, ..Options::default() };
    let Some(server) = engine.start(&options).unwrap() else { return };
    assert!(server.endpoint().starts_with("https://"));
    server.client().unwrap().create_bucket("bucket", true).unwrap();
    let stranger = Client::new(&server.endpoint(), server.credentials().clone(), None).unwrap();
    let refused = stranger.send("GET", "/", &[], &[], &[]).unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[test]
fn a_thousand_versions_come_in_pages() {
    let server = Embedded::start(&Options::default()).unwrap();
    let client = server.client().unwrap();
    client.create_bucket("bucket", true).unwrap();
    let ids: Vec<_> =
        (0..1100).map(|n: u32| client.put("bucket", "key", &n.to_be_bytes()).unwrap()).collect();
    server.begin_anew();
    let listed = client.versions("bucket", "key").unwrap();
    assert_eq!(server.requests().len(), 2);
    let found: std::collections::BTreeSet<_> = listed.iter().map(|version| &version.id).collect();
    assert_eq!(found, ids.iter().collect());
}

fn broken() -> (Embedded, Client) {
    let server = Embedded::start(&Options::default()).unwrap();
    let client = server.client().unwrap();
    client.create_bucket("bucket", true).unwrap();
    client.put("bucket", "key", b"0123456789").unwrap();
    server.begin_anew();
    (server, client)
}

#[rstest::rstest]
#[case(Fault::Unavailable, 503, "SlowDown")]
#[case(Fault::ClockSkew, 403, "RequestTimeTooSkewed")]
#[case(Fault::WrongSecret, 403, "SignatureDoesNotMatch")]
#[case(Fault::UnknownKey, 403, "InvalidAccessKeyId")]
#[case(Fault::BadGateway, 502, "")]
fn a_fault_answers_for_the_server(#[case] fault: Fault, #[case] status: u16, #[case] code: &str) {
    let (server, client) = broken();
    server.always(fault);
    for (method, body) in [("GET", &b""[..]), ("PUT", b"new")] {
        let answer = client.send(method, "/bucket/key", &[], &[], body).unwrap();
        assert_eq!((answer.status, answer.error_code().unwrap_or_default().as_str()), (status, code));
        assert!(!answer.body.is_empty());
    }
    server.heal();
    assert_eq!(client.get("bucket", "key", None).unwrap(), b"0123456789");
}

#[test]
fn one_request_is_broken_and_the_log_tells_which() {
    let (server, client) = broken();
    server.at(2, Fault::Unavailable);
    let status =
        |client: &Client| client.send("GET", "/bucket/key", &[], &[("x-probe", "7")], &[]).unwrap().status;
    assert_eq!([status(&client), status(&client), status(&client)], [200, 503, 200]);
    let seen = server.requests();
    assert_eq!(seen.iter().map(|seen| seen.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((seen[1].method.as_str(), seen[1].bucket(), seen[1].key()), ("GET", "bucket", "key"));
    assert_eq!(seen[1].headers["x-probe"], "7");
}

#[test]
fn a_cut_before_does_nothing_and_a_cut_after_has_done_it() {
    let (server, client) = broken();
    server.always(Fault::CutBefore);
    client.put("bucket", "key", b"lost").unwrap_err();
    server.heal();
    assert_eq!(client.get("bucket", "key", None).unwrap(), b"0123456789");
    server.always(Fault::CutAfter);
    client.put("bucket", "key", b"done").unwrap_err();
    server.heal();
    assert_eq!(client.get("bucket", "key", None).unwrap(), b"done");
}

#[test]
fn a_truncated_body_is_an_error_for_the_client() {
    let (server, client) = broken();
    server.always(Fault::Truncate);
    client.get("bucket", "key", None).unwrap_err();
    server.heal();
    client.get("bucket", "key", None).unwrap();
}

#[test]
fn a_slow_answer_comes_and_one_that_hangs_does_not() {
    let (server, client) = broken();
    let delay = Duration::from_millis(200);
    server.always(Fault::Slow(delay));
    let begun = Instant::now();
    client.get("bucket", "key", None).unwrap();
    assert!(begun.elapsed() >= delay);

    server.always(Fault::Hang);
    let (sender, answer) = std::sync::mpsc::channel();
    std::thread::spawn({
        let client = client.clone();
        move || sender.send(client.get("bucket", "key", None).is_ok())
    });
    assert!(answer.recv_timeout(delay).is_err(), "something came");
    drop(server);
    assert_eq!(answer.recv_timeout(LIMIT), Ok(false));
}

#[test]
fn weak_servers_are_weak() {
    let (server, client) = broken();
    let lock = |client: &Client| {
        client.send("PUT", "/bucket/lock", &[], &[("if-none-match", "*")], b"lock").unwrap()
    };
    assert_eq!([lock(&client).status, lock(&client).status], [200, 412]);
    server.always(Fault::IgnoreConditions);
    assert_eq!(lock(&client).status, 200);

    server.always(Fault::WrongEtag);
    let tag = client.send("HEAD", "/bucket/key", &[], &[], &[]).unwrap().headers["etag"].clone();
    server.heal();
    let right = client.send("HEAD", "/bucket/key", &[], &[], &[]).unwrap().headers["etag"].clone();
    assert_ne!(tag, right);

    server.always(Fault::NoVersioning);
    for query in [("versioning", ""), ("versions", ""), ("versionId", "null")] {
        let answer = client.send("GET", "/bucket", &[query], &[], &[]).unwrap();
        assert_eq!(
            (answer.status, answer.error_code().as_deref()),
            (501, Some("NotImplemented")),
            "{query:?}"
        );
    }
    assert_eq!(client.put("bucket", "key", b"new").unwrap(), "null");
}

#[test]
fn a_request_is_done_though_its_client_is_gone() {
    let (server, client) = broken();
    let (arrived, wait) = std::sync::mpsc::channel();
    let (go_on, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    server.watch(move |seen| {
        arrived.send(seen.headers.clone()).unwrap();
        gate.lock().unwrap().recv().unwrap();
        // Long enough for the server to notice that the client is gone.
        Some(Fault::Slow(Duration::from_millis(100)))
    });
    // The client whose words are taken over by one that goes away.
    let signing = std::thread::spawn({
        let client = client.clone();
        move || client.put("bucket", "key", b"x").is_ok()
    });
    let headers = wait.recv_timeout(LIMIT).unwrap();
    let mut text = "PUT /bucket/key HTTP/1.1\r\n".to_owned();
    for (name, value) in &headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let mut leaving = TcpStream::connect(address).unwrap();
    leaving.write_all(format!("{text}\r\nx").as_bytes()).unwrap();
    wait.recv_timeout(LIMIT).unwrap();
    drop(leaving);
    go_on.send(()).unwrap();
    go_on.send(()).unwrap();
    assert!(signing.join().unwrap());

    server.heal();
    let deadline = Instant::now() + LIMIT;
    while client.versions("bucket", "key").unwrap().len() < 3 {
        assert!(Instant::now() < deadline, "what the client asked for was not done");
        std::thread::yield_now();
    }
}

/// Starts the server as a program; the line that it prints.
#[cfg(feature = "server")]
fn program(folder: &std::path::Path, port: &str) -> (std::process::Child, String) {
    use std::io::BufRead as _;
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_restore-lab"))
        .args(["s3", "--port", port, "--folder"])
        .arg(folder)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

#[cfg(feature = "server")]
#[test]
fn as_a_program_it_outlives_a_kill_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, line) = program(folder.path(), "0");
    let value = |name: &str| {
        let pair = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        pair.unwrap_or_else(|| panic!("{name} is not in: {line}")).to_owned()
    };
    let endpoint = value("AWS_ENDPOINT_URL");
    let credentials =
        Credentials { access_key: value("AWS_ACCESS_KEY_ID"), secret_key: value("AWS_SECRET_ACCESS_KEY") };
    let client = Client::new(&endpoint, credentials, None).unwrap();
    client.create_bucket("bucket", true).unwrap();
    let first = client.put("bucket", "key", b"one").unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let port = endpoint.rsplit_once(':').unwrap().1;
    let (mut child, again) = program(folder.path(), port);
    assert_eq!(again, line);
    assert_eq!(client.get("bucket", "key", Some(&first)).unwrap(), b"one");
    child.kill().unwrap();
    child.wait().unwrap();
}
