//! What the tests of several files need.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::frame_head::WalHeader;
use crate::ids::{DatabaseId, Epoch, GenerationId, Lsn, Msn};
use crate::message::{Op, Version};
use crate::page::{Page, PageBuilder};

/// Keys, each with its versions newest first; `None` is a delete.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<(u64, Option<Vec<u8>>)>>;

/// Some database.
pub(crate) const DATABASE: DatabaseId = DatabaseId::from_bytes(*b"0123456789abcdef");
/// Another database.
pub(crate) const STRANGER: DatabaseId = DatabaseId::from_bytes(*b"0123456789abcdeF");

/// The header of a log file that has begun.
pub(crate) const LOG_HEADER: WalHeader = WalHeader {
    database: DATABASE,
    generation: GenerationId::from_raw(3),
    epoch: Epoch::from_raw(5),
    base: Lsn::from_raw(10_000),
    durable: Lsn::ZERO,
    first_msn: Msn::from_raw(77),
    is_begun: true,
};

/// A few rows. Few different bytes, so that prefixes and heads are often shared.
pub(crate) fn any_rows() -> impl Strategy<Value = Rows> {
    let key = prop::collection::vec(0u8..3, 0..14);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let versions = prop::collection::btree_map(0u64..1_000_000, value, 1..4);
    let newest_first = versions.prop_map(|versions| versions.into_iter().rev().collect());
    prop::collection::btree_map(key, newest_first, 1..40)
}

/// A page of these rows.
pub(crate) fn page_of<'a>(
    rows: impl IntoIterator<Item = (&'a Vec<u8>, &'a Vec<(u64, Option<Vec<u8>>)>)>,
) -> Page {
    let mut builder = PageBuilder::new();
    for (key, versions) in rows {
        builder.push(key, &as_versions(versions));
    }
    builder.finish()
}

/// Borrows versions in the form that pages take.
pub(crate) fn as_versions(versions: &[(u64, Option<Vec<u8>>)]) -> Vec<Version<'_>> {
    let versions = versions.iter().map(|(msn, value)| Version {
        msn: *msn,
        op: value.as_deref().map_or(Op::Delete, Op::Put),
    });
    versions.collect()
}

/// Reads a page back.
pub(crate) fn rows_of(page: &Page) -> Rows {
    let row = |row| {
        let versions = page.versions(row).map(|version| match version.op {
            Op::Put(value) | Op::Merge(value) => (version.msn, Some(value.to_vec())),
            Op::Delete => (version.msn, None),
        });
        (page.key(row).to_vec(), versions.collect())
    };
    (0..page.rows()).map(row).collect()
}

/// A copy of `bytes` with one bit turned over.
pub(crate) fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    *bytes.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
    bytes
}
