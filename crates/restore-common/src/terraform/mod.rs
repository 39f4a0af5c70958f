//! Terraform, or OpenTofu, as a program: found, asked for its version, told what to do, understood.

mod folder;
mod plan;
mod program;

pub use folder::{DataFolder, OVERRIDE_MARK, override_text, read_override};
pub use plan::{PlanError, PlanSummary};
pub use program::{Kind, NoTerraform, Terraform};
