//! The steps of the disaster-recovery runbook.

use std::io;

use restore_e2e::runbook::{run, steps, with_printed};
use restore_lab::{homelab::Scenario, lab::program_under_test, s3::Engine};

/// Runs every step in a homelab whose node was lost, and puts in what it printed.
pub fn follow(page: &str) -> io::Result<String> {
    let missing = || io::Error::other("Terraform, its provider or MinIO is not there");
    let homelab = Scenario::NodeLost.start(Engine::MinIo)?.ok_or_else(missing)?;
    let operator = homelab.command("verify-backups");
    let programs = program_under_test("verify-backups");
    let programs = programs.parent().ok_or_else(missing)?;
    let mut page = page.to_owned();
    for step in steps(&page).map_err(io::Error::other)? {
        let (code, printed) = run(&step, &operator, programs)?;
        if code != 0 {
            return Err(io::Error::other(format!("`{}` ended with {code}:\n{printed}", step.command)));
        }
        page = with_printed(&page, &step, &printed);
    }
    Ok(page)
}
