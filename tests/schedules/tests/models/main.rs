//! The models: each is one small play of several threads on the real engine.

mod backpressure;
mod checkpoint;
mod drain;
mod eviction;
mod group_commit;
mod shutdown;
mod snapshots;
mod stage;
mod views;
