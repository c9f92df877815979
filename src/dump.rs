//! The structure as text, for people.

use std::fmt::Write as _;
use std::sync::Arc;

use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::{Run, SegmentRef};

use crate::database::Database;
use crate::error::Result;

impl Database {
    /// The trees with their nodes, buffers and segments, a line each, indented by depth. Reads the
    /// nodes that are not in memory; reads no page.
    ///
    /// # Errors
    /// When a node cannot be read or is damaged.
    pub fn dump(&self) -> Result<String> {
        let engine = self.engine();
        engine.check_open()?;
        let (forest, generations) = engine.views.hold();
        let mut out = String::new();
        for generation in generations {
            let id = generation.id;
            let (rows, bytes) = (generation.rows(), generation.user_bytes());
            line(&mut out, 0, &format!("generation {id}: {rows} messages, {bytes} bytes"));
        }
        for tree in forest.trees.values() {
            line(&mut out, 0, &format!("tree {} {:?}", tree.id, tree.options.name));
            self.dump_edge(&mut out, 1, &tree.top)?;
        }
        for dropped in forest.dropped.values() {
            let (tree, at) = (&dropped.tree, dropped.at);
            let name = &tree.options.name;
            line(&mut out, 0, &format!("tree {} {name:?}, dropped at message {at}", tree.id));
            self.dump_edge(&mut out, 1, &tree.top)?;
        }
        Ok(out)
    }

    fn dump_edge(&self, out: &mut String, depth: usize, edge: &Arc<Edge>) -> Result<()> {
        for run in edge.buffer() {
            dump_run(out, depth, "run", run);
        }
        let resident = self.engine().table.node(&edge.child)?;
        let block = edge.child.block();
        match &resident.node {
            Node::Leaf(run) => dump_run(out, depth, &format!("leaf {block}"), run),
            Node::Internal(node) => {
                let (height, edges) = (node.height, node.edges().len());
                line(out, depth, &format!("node {block}: height {height}, {edges} edges"));
                for (index, edge) in node.edges().iter().enumerate() {
                    if let Some(pivot) =
                        index.checked_sub(1).and_then(|left| node.pivots().get(left))
                    {
                        line(
                            out,
                            depth + 1,
                            &format!("pivot {:?}", pivot.escape_ascii().to_string()),
                        );
                    }
                    self.dump_edge(out, depth + 2, edge)?;
                }
            }
        }
        Ok(())
    }
}

fn dump_run(out: &mut String, depth: usize, what: &str, run: &Run) {
    let (rows, bytes) = (run.rows(), run.bytes());
    let (oldest, newest) = (run.oldest(), run.newest());
    line(out, depth, &format!("{what}: {rows} rows, {bytes} bytes, messages {oldest} to {newest}"));
    for part in run.segments() {
        dump_segment(out, depth + 1, part);
    }
}

fn dump_segment(out: &mut String, depth: usize, part: &SegmentRef) {
    let (id, first, last) = (part.segment.id(), part.first(), part.last());
    let place = match part.segment.place() {
        Some(place) => format!("{} bytes at {}", place.extent.bytes, place.extent.offset),
        None => "in memory".to_owned(),
    };
    let clipped = if part.is_clipped() { ", clipped" } else { "" };
    let (first, last) = (first.escape_ascii(), last.escape_ascii());
    line(
        out,
        depth,
        &format!("segment {id}: \"{first}\" to \"{last}\"{clipped}, {} rows, {place}", part.rows),
    );
}

fn line(out: &mut String, depth: usize, text: &str) {
    let _ = writeln!(out, "{:indent$}{text}", "", indent = depth * 2);
}
