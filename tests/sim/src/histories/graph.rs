//! Who must come before whom, and whether that is a contradiction.
//!
//! ```text
//! ww     it replaced what the other wrote
//! wr     it read what the other wrote
//! start  it began after the other had committed
//! rw     it read what the other replaced: an anti-dependency
//! ```
//!
//! Snapshot isolation is that every cycle has two adjacent `rw` edges: that no cycle is left among
//! the other edges, each alone or followed by one `rw`. Serializability is that there is none at
//! all.

use std::collections::VecDeque;

/// Why one comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    WriteWrite,
    WriteRead,
    Start,
    ReadWrite,
}

/// Edges between transactions, which are numbered.
pub struct Graph {
    edges: Vec<Vec<(usize, Why)>>,
}

/// A cycle, told.
pub type Story = String;

impl Graph {
    pub fn new(nodes: usize) -> Graph {
        Graph { edges: vec![Vec::new(); nodes] }
    }

    pub fn add(&mut self, from: usize, to: usize, why: Why) {
        if from != to && !self.edges[from].contains(&(to, why)) {
            self.edges[from].push((to, why));
        }
    }

    /// A cycle along edges of these sorts.
    pub fn cycle(&self, sorts: &[Why]) -> Option<Story> {
        let keep = |edges: &Vec<(usize, Why)>| {
            let kept = edges.iter().filter(|(_, why)| sorts.contains(why));
            kept.map(|(to, why)| (*to, format!("{why:?} {to}"))).collect()
        };
        shortest_cycle(&self.edges.iter().map(keep).collect::<Vec<_>>())
    }

    /// A cycle in which no two `rw` edges are adjacent.
    pub fn cycle_of_snapshots(&self) -> Option<Story> {
        let from = |edges: &Vec<(usize, Why)>| {
            let mut steps = Vec::new();
            for (to, why) in edges.iter().filter(|(_, why)| *why != Why::ReadWrite) {
                steps.push((*to, format!("{why:?} {to}")));
                let next = self.edges[*to].iter().filter(|(_, why)| *why == Why::ReadWrite);
                steps.extend(next.map(|(end, _)| (*end, format!("{why:?} {to} ReadWrite {end}"))));
            }
            steps
        };
        shortest_cycle(&self.edges.iter().map(from).collect::<Vec<_>>())
    }
}

type Labelled = Vec<Vec<(usize, String)>>;

fn shortest_cycle(edges: &Labelled) -> Option<Story> {
    if is_acyclic(edges) {
        return None;
    }
    let stories = (0..edges.len()).filter_map(|start| way_back(edges, start));
    stories.min_by_key(String::len)
}

/// Takes away what nothing leads to, for as long as there is something.
fn is_acyclic(edges: &Labelled) -> bool {
    let mut leading = vec![0; edges.len()];
    edges.iter().flatten().for_each(|(to, _)| leading[*to] += 1);
    let mut free: Vec<usize> = (0..edges.len()).filter(|node| leading[*node] == 0).collect();
    let mut taken = 0;
    while let Some(node) = free.pop() {
        taken += 1;
        for (to, _) in &edges[node] {
            leading[*to] -= 1;
            if leading[*to] == 0 {
                free.push(*to);
            }
        }
    }
    taken == edges.len()
}

/// The shortest way from a node to itself.
fn way_back(edges: &Labelled, start: usize) -> Option<Story> {
    let mut came: Vec<Option<(usize, &str)>> = vec![None; edges.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for (to, label) in &edges[node] {
            if came[*to].is_some() {
                continue;
            }
            came[*to] = Some((node, label));
            if *to != start {
                queue.push_back(*to);
                continue;
            }
            let (mut at, mut parts) = (start, Vec::new());
            while let Some((before, label)) = came[at] {
                parts.push(label);
                at = before;
                if at == start {
                    break;
                }
            }
            parts.reverse();
            return Some(format!("{start} -> {}", parts.join(" -> ")));
        }
    }
    None
}
