//! Terraform's own lock, and that of this program.

use std::sync::{Mutex, mpsc::channel};

use restore_e2e::States;
use restore_lab::{
    s3::{Engine, Fault},
    terraform,
};
use rstest::rstest;

const LOCK: &str = "terraform.tfstate.tflock";

#[rstest]
fn an_apply_that_runs_keeps_everybody_out(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(states) = States::start(engine) else { return };
    states.apply("prod", 1..=2);
    states.project.release("prod", 3).unwrap();
    let held = states.project.apply_held("prod").unwrap();
    let (files, versions) = (states.files("prod"), states.versions("prod"));
    let refused = states.run(&["--env", "prod", "--restore", "serial:1", "--yes"]).exits(1);
    let refused = refused.says("is locked by").says("OperationTypeApply").says("wait for its end");
    assert!(refused.stdout.contains("force-unlock"), "{refused}");
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(1).says("is locked by");
    states.run(&["--env", "prod", "--list"]).exits(0).says("locked by");
    assert_eq!((states.files("prod"), states.versions("prod")), (files, versions));
    held.let_go().unwrap();
    states.run(&["--env", "prod", "--restore", "serial:1", "--yes"]).exits(0);
    assert_eq!(states.state("prod")["serial"], 4);
}

#[rstest]
fn a_lock_that_was_left_is_explained_and_the_command_breaks_it(
    #[values(Engine::Embedded, Engine::MinIo)] engine: Engine,
) {
    let Some(states) = States::start(engine) else { return };
    states.apply("prod", 1..=2);
    states.project.release("prod", 3).unwrap();
    drop(states.project.apply_held("prod").unwrap());
    let refused =
        states.run(&["--env", "prod", "--restore", "serial:1", "--yes", "--json"]).exits(1).report();
    let text = refused.to_string();
    let command = text.split('`').find(|words| words.contains("force-unlock")).unwrap();
    let id = command.split_whitespace().last().unwrap();
    let output = states.project.command("prod", &["force-unlock", "-force", id]).unwrap().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    states.run(&["--env", "prod", "--restore", "serial:1", "--yes"]).exits(0);
}

#[test]
fn terraform_sees_the_lock_of_a_restore() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    let plan = states.project.command("prod", &["plan", "-input=false", "-no-color"]).unwrap();
    let (plan, (sender, answer)) = (Mutex::new(Some(plan)), channel());
    states.server.watch(move |request| {
        let writes = request.method == "PUT" && request.path.ends_with("/terraform.tfstate");
        // Its own requests come here as well.
        let begins = plan.lock().unwrap().take_if(|_| writes);
        if let Some(mut plan) = begins {
            sender.send(plan.output().unwrap()).unwrap();
        }
        None
    });
    states.run(&["--env", "prod", "--restore", "serial:1", "--yes"]).exits(0);
    let output = answer.try_recv().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("restore-tfstate"), "{said}");
    assert!(states.admin().get(&terraform::bucket("prod"), LOCK, None).is_err(), "the lock is given back");
}

/// Somebody who ignores locks writes after the look, or in the very moment of the write: their state stays.
#[rstest]
#[case(LOCK, 2, "somebody has changed the state of prod since it was looked at")]
#[case("terraform.tfstate", 3, "theirs is the current one and stays")]
fn a_write_of_somebody_elses_meanwhile_is_noticed(
    #[case] moment: &'static str,
    #[case] code: i32,
    #[case] words: &str,
) {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    let mut theirs = states.state("prod");
    theirs["serial"] = 3.into();
    theirs["outputs"]["release"]["value"] = 99.into();
    let write = Mutex::new(Some((states.admin(), theirs.to_string())));
    states.server.watch(move |request| {
        let locks = request.method == "PUT" && request.path.ends_with(moment);
        let begins = write.lock().unwrap().take_if(|_| locks);
        if let Some((admin, theirs)) = begins {
            admin.put(&terraform::bucket("prod"), "terraform.tfstate", theirs.as_bytes()).unwrap();
        }
        None
    });
    states.run(&["--env", "prod", "--restore", "serial:1", "--yes"]).exits(code).says(words);
    assert_eq!(states.state("prod"), theirs);
    assert!(states.admin().get(&terraform::bucket("prod"), LOCK, None).is_err(), "the lock is given back");
}

#[test]
fn a_lock_that_the_server_does_not_honour_is_said_to_be_vain() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    states.server.always(Fault::IgnoreConditions);
    let done = states.run(&["--env", "prod", "--restore", "serial:1", "--yes"]).exits(0);
    done.says("lets everybody overwrite a lock").says("locks protect nobody there");
}

#[test]
fn locks_are_no_states() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=3);
    let listed = states.run(&["--env", "prod", "--list", "--json"]).exits(0).report();
    assert_eq!(listed["versions"].as_array().unwrap().len(), 3);
    assert!(!states.admin().versions(&terraform::bucket("prod"), LOCK).unwrap().is_empty());
}
