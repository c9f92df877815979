//! Harmed databases, judged; sampled, or all of them with `SAPWOOD_DAMAGE=all`.

#[global_allocator]
static COUNTED: sapwood_damage::memory::Counting = sapwood_damage::memory::Counting;

mod harms;
mod salvaged;
