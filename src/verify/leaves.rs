//! Order rule 5: what rows a leaf may hold.
//!
//! A version stays for a reader who may have gone since, and an operand for an operator that may
//! have been declared since: what the next rewrite of the leaf would drop is counted. Refused is
//! what no rewrite leaves behind, whoever reads.

use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::fold::{Floor, Rules, fold, see};
use sapwood_serialize::{Msn, Op, Operator, Page, Sight, Version};

use super::Walk;
use crate::merge;

/// What decides about the rows of a tree's leaves.
pub(super) struct LeafRules {
    operator: Option<Operator>,
    waiting: Waiting,
}

/// Whether operands may wait in leaves that the operator can merge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The operator may have been declared after they came.
    May,
    /// The operator is a built-in one, which was at hand before the first of them.
    Never,
}

impl LeafRules {
    pub(super) fn new(tree: &CatalogTree) -> LeafRules {
        let built_in = tree.options.operator.as_ref().and_then(merge::built_in);
        let waiting = if built_in.is_some() { Waiting::Never } else { Waiting::May };
        LeafRules { operator: tree.operator.clone(), waiting }
    }
}

impl Walk<'_> {
    /// Checks a row of a leaf, whose versions are known to be newest first; tells the rule that it
    /// breaks.
    pub(super) fn leaf_row(
        &mut self,
        page: &Page,
        row: usize,
        base: Msn,
        leaves: &LeafRules,
    ) -> Result<(), &'static str> {
        let mut versions = page.versions(row);
        let is_put = matches!(versions.next(), Some(Version { op: Op::Put(_), .. }));
        if is_put && versions.next().is_none() {
            return Ok(());
        }
        let whole = |version: Version<'_>| version.msn.saturating_add(base.to_raw());
        let versions: Vec<_> = page
            .versions(row)
            .map(|version| Version { msn: whole(version), op: version.op })
            .collect();
        if versions.last().is_some_and(|oldest| oldest.op == Op::Delete) {
            return Err("a leaf holds a delete with nothing below it");
        }
        let operands = versions.iter().filter(|version| matches!(version.op, Op::Merge(_))).count();
        if operands > 0
            && leaves.waiting == Waiting::Never
            && leaves.merges(page.key(row), &versions)
        {
            return Err("a leaf holds operands that its operator merges");
        }
        let operator = leaves.operator.as_ref();
        let rules = Rules { horizon: &self.horizon, floor: Floor::Leaf, operator };
        let left = fold(page.key(row), versions.iter().copied(), &[], rules).versions().len();
        self.report.garbage_versions += versions.len().saturating_sub(left) as u64;
        self.report.waiting_operands += operands as u64;
        Ok(())
    }
}

impl LeafRules {
    /// Whether the operator merges some chain of operands to its end. A part of a chain is no sign:
    /// an operand that fails keeps those before it waiting, too.
    fn merges(&self, key: &[u8], versions: &[Version<'_>]) -> bool {
        let is_operand = |version: &Version<'_>| matches!(version.op, Op::Merge(_));
        let newest_of_chain = |at: usize| {
            let newer = at.checked_sub(1).and_then(|newer| versions.get(newer));
            versions.get(at).is_some_and(is_operand) && !newer.is_some_and(is_operand)
        };
        (0..versions.len()).filter(|at| newest_of_chain(*at)).any(|at| {
            let chain = versions.iter().skip(at).copied();
            see(key, chain, &[], Sight::at(Msn::from_raw(u64::MAX)), self.operator.as_ref()).is_ok()
        })
    }
}
