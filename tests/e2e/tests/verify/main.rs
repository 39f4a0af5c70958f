//! `verify-backups` in a lab.

mod coverage;
mod deep;
mod local;
mod quick;
mod readings;
mod report;
mod states;
