//! Everything that is tested through the public API; the list of modules is the table of contents.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use sapwood_sim as sim;

mod ahead;
mod append;
mod basics;
#[cfg(feature = "cli")]
mod cli;
mod copy;
mod crash;
mod cursors;
mod endings;
mod errors;
mod examples;
mod faults;
mod fetches;
mod gate;
mod golden;
mod hermitage;
mod histories;
mod large;
mod messages;
mod model;
mod movement;
mod panics;
mod pauses;
mod read_only;
mod recoveries;
mod refusals;
mod review;
mod salvage;
mod scenarios;
mod slow_commits;
mod small_traces;
mod space;
mod step_matrix;
mod step_points;
mod threads;
mod tidy;
mod transactions;
mod tree_crashes;
mod trees;
mod two_ends;
mod tx_model;
mod typed;
