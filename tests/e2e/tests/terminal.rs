//! Questions, Ctrl-C, and no terminal at all.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use restore_e2e::{Terminal, restore_vm, restore_vm_command};
use restore_lab::lab::Lab;

const QUESTION: &str = "type `101` to go on";

fn ask(lab: &Lab) -> Terminal {
    let mut terminal = Terminal::start(restore_vm_command(lab, &["101"])).unwrap();
    terminal.wait_for(QUESTION);
    terminal
}

#[test]
fn without_a_terminal_and_without_force_it_refuses() {
    let lab = Lab::start().unwrap();
    let before = lab.inventory().unwrap();
    let _ = restore_vm(&lab, &["101"]).exits(1).says("standard input is no terminal").says("--yes");
    assert_eq!(lab.inventory().unwrap(), before);
}

#[rstest::rstest]
#[case::a_y_is_not_enough("y\n")]
#[case::an_empty_line("\n")]
#[case::end_of_input("\x04")]
fn anything_but_the_number_is_a_no(#[case] typed: &str) {
    let lab = Lab::start().unwrap();
    let before = lab.inventory().unwrap();
    let mut terminal = ask(&lab);
    terminal.enter(typed).unwrap();
    let (code, screen) = terminal.finish().unwrap();
    assert_eq!(code, 1, "{screen}");
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn the_number_is_a_yes() {
    let lab = Lab::start().unwrap();
    let mut terminal = ask(&lab);
    terminal.enter("101\n").unwrap();
    let (code, screen) = terminal.finish().unwrap();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("done and proven"), "{screen}");
}

#[test]
fn ctrl_c_at_the_question_changes_nothing() {
    let lab = Lab::start().unwrap();
    let before = lab.inventory().unwrap();
    let terminal = ask(&lab);
    terminal.interrupt().unwrap();
    let (code, screen) = terminal.finish().unwrap();
    assert_eq!(code, 130, "{screen}");
    assert_eq!(lab.inventory().unwrap(), before);
}

/// The bars that were drawn on a terminal of 80 columns, with what fills them up.
fn bars(screen: &str) -> Vec<String> {
    let plain = console::strip_ansi_codes(screen).into_owned();
    let is_bar = |line: &&str| line.starts_with(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
    plain.split(['\r', '\n']).filter(is_bar).map(str::to_owned).collect()
}

#[test]
fn ctrl_c_during_the_restore_rolls_back() {
    let lab = Lab::start().unwrap();
    let hash = || lab.disk_sha256("/etc/pve/qemu-server/101.conf", "scsi0").unwrap();
    lab.write_to_guest(101, "work since the last backup").unwrap();
    let before = hash();
    // Slow enough to be caught in the middle, over when it is not.
    lab.slow_down(&["qmrestore"], 3_000).unwrap();
    let mut terminal = ask(&lab);
    terminal.enter("101\n").unwrap();
    terminal.wait_for("] Restore VM 101 from");
    terminal.interrupt().unwrap();
    let (code, screen) = terminal.finish().unwrap();
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("rolled back"), "{screen}");
    let widest = bars(&screen).iter().map(|bar| bar.chars().count()).max();
    assert!(widest.is_some_and(|columns| columns <= 78), "no room for the echo of Ctrl-C: {screen}");
    assert_eq!(hash(), before, "{screen}");
    assert_eq!(restore_vm(&lab, &["101", "--force"]).code, 0, "it can be run again");
}
