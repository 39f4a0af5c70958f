//! Terraform, or OpenTofu, as a program: found, asked for its version, told what to do, understood.

mod apply;
mod constraint;
mod folder;
mod plan;
mod program;
mod scope;

pub use apply::{Applied, Applying, Counts, apply};
pub use constraint::accepts;
pub use folder::{DataFolder, OVERRIDE_MARK, override_text, read_override};
pub use plan::{PlanError, PlanSummary};
pub use program::{Kind, NoTerraform, Terraform};
pub use scope::{Scope, find_call, plain_address};
