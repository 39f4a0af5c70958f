//! Restore a guest from its vzdump backup, and prove it.
//!
//! The library is what `rebuild-stack` and others use as well: [`look`] reads everything, [`decide`] turns it into
//! an [`assignment::Assignment`], [`plan`] into a plan, and the engine of `restore-common` carries that out.

pub mod app;
pub mod args;
pub mod assignment;
pub mod choose;
pub mod conflicts;
pub mod decide;
pub mod disks;
pub mod ha;
pub mod identity;
pub mod list;
pub mod live;
pub mod look;
pub mod nodes;
pub mod place;
pub mod plan;
pub mod problems;
pub mod record;
pub mod recover;
pub mod select;
pub mod several;
pub mod steps;
