//! Everything that is tested through the public API; the list of modules is the table of contents.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

mod basics;
#[cfg(feature = "cli")]
mod cli;
mod crash;
mod endings;
mod faults;
mod hermitage;
mod histories;
mod hostile;
mod messages;
mod model;
mod movement;
mod refusals;
mod scenarios;
mod sim;
mod slow_commits;
mod step_points;
mod threads;
mod tidy;
mod transactions;
mod tx_model;
