//! `verify-backups` in a lab.

mod coverage;
mod deep;
mod defects;
mod drill;
mod drill_faults;
mod full;
mod interrupts;
mod local;
mod quick;
mod readings;
mod ready;
mod recorded;
mod remembered;
mod report;
mod secrets;
mod shared;
mod states;
