//! Servers that are out of order, each in its own way, and ways to reach one.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr, TcpListener},
    time::Duration,
};

use restore_e2e::{States, run};
use restore_lab::{
    s3::{Embedded, Engine, Fault, Options, S3Server},
    terraform,
};
use rstest::rstest;

/// A fault, what is said of it, and what to do.
#[rstest]
#[case(Fault::Unavailable, "it cannot serve now (status 503)", "the server's log says why")]
#[case(Fault::BadGateway, "status 502", "the server's log says why")]
#[case(Fault::Truncate, "the answer broke off", "try again")]
#[case(Fault::CutBefore, "the answer broke off", "try again")]
#[case(Fault::ClockSkew, "clock", "timedatectl")]
#[case(Fault::WrongSecret, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY")]
#[case(Fault::UnknownKey, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID")]
#[case(Fault::NoVersioning, "NotImplemented", "this server has not what is needed")]
fn each_failure_has_its_own_words(#[case] fault: Fault, #[case] says: &str, #[case] hint: &str) {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    let versions = states.versions("prod");
    states.server.always(fault);
    states.run(&["--env", "prod", "--list"]).exits(1).says(says).says(hint);
    states.run(&["--env", "prod", "--restore", "previous", "--yes"]).exits(1).says(says);
    states.server.heal();
    assert_eq!(states.versions("prod"), versions);
}

#[rstest]
#[case(Fault::Unavailable)]
#[case(Fault::BadGateway)]
#[case(Fault::CutBefore)]
#[case(Fault::Truncate)]
fn a_server_that_cannot_serve_is_fallen_back_from(#[case] fault: Fault) {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    states.run(&["--env", "prod", "--pull"]).exits(0);
    states.server.always(fault);
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    assert!(!states.project.has_changes("prod").unwrap());
}

#[rstest]
#[case(Fault::ClockSkew)]
#[case(Fault::WrongSecret)]
fn what_the_operator_can_mend_is_no_reason_for_a_fallback(#[case] fault: Fault) {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    states.run(&["--env", "prod", "--pull"]).exits(0);
    states.server.always(fault);
    let files = states.files("prod");
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(1);
    assert_eq!(states.files("prod"), files);
}

#[test]
fn a_server_that_never_answers_is_not_waited_for_long() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    states.run(&["--env", "prod", "--pull"]).exits(0);
    states.server.always(Fault::Hang);
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0).says("no answer in time");
}

#[test]
fn a_slow_server_is_waited_for() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    states.server.always(Fault::Slow(Duration::from_millis(300)));
    states.run(&["--env", "prod", "--restore", "previous", "--yes"]).exits(0);
}

#[test]
fn one_failed_answer_among_many_changes_nothing() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=3);
    states.server.begin_anew();
    states.server.at(4, Fault::Unavailable);
    states.run(&["--env", "prod", "--list"]).exits(0);
}

#[test]
fn what_is_read_back_must_be_what_was_written() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    states.server.always(Fault::WrongEtag);
    // The tag is another one, the content is right: the write is compared by its content.
    states.run(&["--env", "prod", "--restore", "previous", "--yes"]).exits(0);
    assert_eq!(states.state("prod")["serial"], 3);
}

#[test]
fn something_else_on_the_port() {
    let Some(mut states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    states.run(&["--env", "prod", "--pull"]).exits(0);
    let address = states.server.endpoint().split_once("://").unwrap().1.to_owned();
    states.server.stop().unwrap();
    let listener = TcpListener::bind(&address).unwrap();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let page = "<html>a router</html>";
            let _ = write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    states.run(&["--env", "prod", "--list"]).exits(1).says("this is no S3 server").says("not of its console");
}

#[rstest]
fn https_with_an_authority_of_ones_own(
    #[values(Engine::Embedded, Engine::MinIo)] engine: Engine,
    #[values(true, false)] by_variable: bool,
) {
    if !terraform::is_installed().unwrap() {
        return;
    }
    let Some(server) = engine.start(&Options { tls: true, ..Options::default() }).unwrap() else { return };
    let states = States::with(server);
    states.apply("prod", 1..=2);
    let authority = states.server.authority().unwrap().to_owned();
    let mut unknown = states.command(&["--env", "prod", "--list"]);
    unknown.env_remove("SSL_CERT_FILE");
    run(unknown).exits(1).says("TLS").says("SSL_CERT_FILE").says("restore.toml");
    let mut command = states.command(&["--env", "prod", "--restore", "previous", "--yes"]);
    if !by_variable {
        command.env_remove("SSL_CERT_FILE");
        let settings = format!("[s3]\nca = \"{}\"\n", authority.display());
        fs::write(states.project.root().join("restore.toml"), settings).unwrap();
    }
    run(command).exits(0);
    assert_eq!(states.state("prod")["serial"], 3);
}

#[test]
fn an_address_of_version_6() {
    if !terraform::is_installed().unwrap() {
        return;
    }
    let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let server = Embedded::start(&Options { address, ..Options::default() }).unwrap();
    let states = States::with(server);
    states.apply("prod", 1..=2);
    states.run(&["--env", "prod", "--restore", "previous", "--yes"]).exits(0);
    assert_eq!(states.state("prod")["serial"], 3);
}
