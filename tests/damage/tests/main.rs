//! Harmed databases, judged; sampled, or all of them with `SAPWOOD_DAMAGE=all`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

#[global_allocator]
static COUNTED: sapwood_damage::memory::Counting = sapwood_damage::memory::Counting;

mod forged;
mod harms;
mod salvaged;
mod tailed;
