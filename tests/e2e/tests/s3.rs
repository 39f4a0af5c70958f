//! The client for buckets, against the lab's server and a real MinIO.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    net::IpAddr, num::NonZeroUsize, sync::atomic::AtomicUsize, sync::atomic::Ordering, time::Duration,
};

use restore_common::{
    s3::{Bucket, Condition, Credentials, Endpoint, Trouble, Versioning},
    ui::Secret,
};
use restore_lab::s3::{Embedded, Engine, Fault, Options, S3Server};
use rstest::rstest;

const BUCKET: &str = "tfstate-prod";
const KEY: &str = "terraform.tfstate";

/// The bucket as the operator's settings name it.
fn bucket(server: &dyn S3Server, name: &str) -> Bucket {
    let endpoint = Endpoint {
        url: server.endpoint(),
        region: "us-east-1".to_owned(),
        path_style: true,
        authority: server.authority().map(std::path::Path::to_owned),
    };
    let known = server.credentials();
    let credentials = Credentials {
        access_key: known.access_key.clone(),
        secret_key: Secret::from(known.secret_key.clone()),
        session_token: None,
    };
    Bucket::new(&endpoint, name, credentials).unwrap()
}

fn start(engine: Engine, options: &Options) -> Option<Box<dyn S3Server>> {
    let server = engine.start(options).unwrap()?;
    server.client().unwrap().create_bucket(BUCKET, true).unwrap();
    Some(server)
}

fn embedded() -> Embedded {
    let server = Embedded::start(&Options::default()).unwrap();
    server.client().unwrap().create_bucket(BUCKET, true).unwrap();
    server.begin_anew();
    server
}

#[rstest]
fn versions_are_listed_newest_first_and_read_by_their_ids(
    #[values(Engine::Embedded, Engine::MinIo)] engine: Engine,
) {
    let Some(server) = start(engine, &Options::default()) else { return };
    let bucket = bucket(server.as_ref(), BUCKET);
    assert_eq!(bucket.versioning().unwrap(), Versioning::Enabled);
    // More than a page of a list has.
    let written: Vec<String> = (0..1010)
        .map(|n| bucket.put(KEY, format!("{{\"n\": {n}}}").as_bytes(), Condition::None).unwrap().unwrap())
        .collect();
    server.client().unwrap().put(BUCKET, "terraform.tfstate.tflock", b"{}").unwrap();
    server.client().unwrap().delete(BUCKET, KEY, None).unwrap();
    let listed = bucket.versions(KEY).unwrap();
    let of_key: Vec<_> = listed.iter().filter(|version| version.key == KEY).collect();
    assert_eq!(of_key.len(), 1011);
    assert!(of_key[0].is_marker && of_key[0].is_current);
    let mut ids: Vec<_> = of_key[1..].iter().map(|version| version.id.clone()).collect();
    let mut wanted = written.clone();
    // Some were written within the same millisecond, and the server's order counts then.
    assert_eq!(ids.len(), wanted.len());
    ids.sort();
    wanted.sort();
    assert_eq!(ids, wanted);
    assert_eq!(bucket.get(KEY, Some(&written[7])).unwrap().bytes, b"{\"n\": 7}");
    assert_eq!(bucket.get(KEY, None).unwrap_err().trouble, Trouble::NoObject);
    assert!(bucket.get(KEY, Some("no-such-version")).is_err());
}

#[rstest]
fn many_versions_are_read_some_at_a_time(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(server) = start(engine, &Options::default()) else { return };
    let bucket = bucket(server.as_ref(), BUCKET);
    for n in 0..40 {
        bucket.put(KEY, n.to_string().as_bytes(), Condition::None).unwrap();
    }
    let versions = bucket.versions(KEY).unwrap();
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let read = bucket.get_each(&versions, NonZeroUsize::new(4).unwrap(), |version, object| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let text = String::from_utf8(object.unwrap().bytes).unwrap();
        now.fetch_sub(1, Ordering::SeqCst);
        (version.id.clone(), text)
    });
    assert!(most.load(Ordering::SeqCst) <= 4);
    let ids: Vec<_> = read.iter().map(|(id, _)| id).collect();
    assert_eq!(
        ids,
        versions.iter().map(|version| &version.id).collect::<Vec<_>>(),
        "in the order of the list"
    );
    let mut texts: Vec<u32> = read.iter().map(|(_, text)| text.parse().unwrap()).collect();
    texts.sort_unstable();
    assert_eq!(texts, (0..40).collect::<Vec<_>>());
}

#[rstest]
fn a_condition_keeps_a_write_from_happening(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(server) = start(engine, &Options::default()) else { return };
    let bucket = bucket(server.as_ref(), BUCKET);
    bucket.put(KEY, b"first", Condition::Absent).unwrap();
    let refused = bucket.put(KEY, b"second", Condition::Absent).unwrap_err();
    assert_eq!(refused.trouble, Trouble::ConditionFailed);
    let etag = bucket.get(KEY, None).unwrap().etag.unwrap();
    bucket.put(KEY, b"third", Condition::Unchanged(&etag)).unwrap();
    let refused = bucket.put(KEY, b"fourth", Condition::Unchanged(&etag)).unwrap_err();
    assert_eq!(refused.trouble, Trouble::ConditionFailed);
    assert_eq!(bucket.get(KEY, None).unwrap().bytes, b"third");
    bucket.delete(KEY).unwrap();
    bucket.put(KEY, b"fifth", Condition::Absent).unwrap();
}

#[rstest]
fn what_is_wrong_is_told_apart(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(mut server) = start(engine, &Options::default()) else { return };
    assert_eq!(bucket(server.as_ref(), "nobodys").versioning().unwrap_err().trouble, Trouble::NoBucket);
    let wrong = |access_key: &str, secret_key: &str| {
        let endpoint = Endpoint {
            url: server.endpoint(),
            region: "us-east-1".to_owned(),
            path_style: true,
            authority: None,
        };
        let credentials = Credentials {
            access_key: access_key.to_owned(),
            secret_key: Secret::from(secret_key.to_owned()),
            session_token: None,
        };
        Bucket::new(&endpoint, BUCKET, credentials).unwrap().versioning().unwrap_err().trouble
    };
    let known = server.credentials().access_key.clone();
    assert!(matches!(wrong(&known, "another-secret"), Trouble::WrongCredentials(_)));
    assert!(matches!(wrong("nobody", "another-secret"), Trouble::WrongCredentials(_)));
    server.client().unwrap().create_bucket("plain", false).unwrap();
    assert_eq!(bucket(server.as_ref(), "plain").versioning().unwrap(), Versioning::Off);
    let bucket = bucket(server.as_ref(), BUCKET);
    server.stop().unwrap();
    let error = bucket.versioning().unwrap_err();
    assert_eq!(error.trouble, Trouble::Refused);
    assert!(error.trouble.is_outage() && error.trouble.advice().contains("--fallback"));
    assert!(error.to_string().contains(BUCKET) && error.to_string().contains(&server.endpoint()), "{error}");
    server.start_again().unwrap();
    assert_eq!(bucket.versioning().unwrap(), Versioning::Enabled);
}

#[rstest]
#[case(Fault::ClockSkew, Trouble::ClockSkew)]
#[case(Fault::NoVersioning, Trouble::NotImplemented)]
fn refusals_of_a_server_have_their_own_words(#[case] fault: Fault, #[case] trouble: Trouble) {
    let server = embedded();
    server.always(fault);
    assert_eq!(bucket(&server, BUCKET).versioning().unwrap_err().trouble, trouble);
}

#[rstest]
#[case(Fault::Unavailable)]
#[case(Fault::BadGateway)]
#[case(Fault::Truncate)]
#[case(Fault::CutAfter)]
fn a_read_is_tried_again_and_a_write_is_not(#[case] fault: Fault) {
    let server = embedded();
    server.client().unwrap().put(BUCKET, KEY, b"content").unwrap();
    server.begin_anew();
    server.at(1, fault);
    assert_eq!(bucket(&server, BUCKET).get(KEY, None).unwrap().bytes, b"content");
    assert_eq!(server.requests().len(), 2);
    server.begin_anew();
    server.always(fault);
    let error = bucket(&server, BUCKET).get(KEY, None).unwrap_err();
    assert!(error.trouble.may_pass() && error.trouble.is_outage(), "{error}");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_write_without_an_answer_is_sent_once() {
    let server = embedded();
    server.at(1, Fault::CutAfter);
    let error = bucket(&server, BUCKET).put(KEY, b"content", Condition::Absent).unwrap_err();
    assert!(matches!(error.trouble, Trouble::Broken(_)), "{error}");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(
        server.client().unwrap().get(BUCKET, KEY, None).unwrap(),
        b"content",
        "it happened all the same"
    );
}

#[test]
fn a_slow_server_is_waited_for() {
    let server = embedded();
    server.always(Fault::Slow(Duration::from_millis(300)));
    assert_eq!(bucket(&server, BUCKET).versioning().unwrap(), Versioning::Enabled);
}

#[rstest]
fn a_certificate_of_the_operators_own_is_trusted_when_it_is_named(
    #[values("127.0.0.1", "::1")] address: IpAddr,
    #[values(Engine::Embedded, Engine::MinIo)] engine: Engine,
) {
    let options = Options { address, tls: true, ..Options::default() };
    let Some(server) = start(engine, &options) else { return };
    assert!(server.endpoint().starts_with("https://"));
    assert_eq!(bucket(server.as_ref(), BUCKET).versioning().unwrap(), Versioning::Enabled);
    let stranger = Endpoint {
        url: server.endpoint(),
        region: "us-east-1".to_owned(),
        path_style: true,
        authority: None,
    };
    let credentials = Credentials {
        access_key: server.credentials().access_key.clone(),
        secret_key: Secret::from(server.credentials().secret_key.clone()),
        session_token: None,
    };
    let error = Bucket::new(&stranger, BUCKET, credentials).unwrap().versioning().unwrap_err();
    assert!(matches!(error.trouble, Trouble::Tls(_)), "{error}");
    assert!(error.trouble.advice().contains("SSL_CERT_FILE"));
}

#[test]
fn what_is_no_s3_server_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let endpoint = Endpoint { url, region: "us-east-1".to_owned(), path_style: true, authority: None };
    let credentials = Credentials {
        access_key: "k".to_owned(),
        secret_key: Secret::from("s".to_owned()),
        session_token: None,
    };
    let bucket = Bucket::new(&endpoint, BUCKET, credentials).unwrap();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let page = "<html><title>Grafana</title></html>";
            let _ = write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{page}", page.len());
        }
    });
    let error = bucket.versioning().unwrap_err();
    assert!(matches!(&error.trouble, Trouble::NotS3(words) if words.contains("Grafana")), "{error}");
}

#[test]
fn keys_that_would_be_something_else_in_a_url_are_refused() {
    let server = embedded();
    let bucket = bucket(&server, BUCKET);
    for key in ["", "../other/key", "a/./b"] {
        bucket.put(key, b"x", Condition::None).unwrap_err();
    }
    assert!(server.requests().is_empty());
    let odd = "env:/dev space/ü%25?#/terraform.tfstate";
    bucket.put(odd, b"odd", Condition::None).unwrap();
    assert_eq!(bucket.get(odd, None).unwrap().bytes, b"odd");
    assert_eq!(bucket.versions("env:/dev space/").unwrap()[0].key, odd);
}
