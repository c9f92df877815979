//! Pages that are built, read, searched and damaged.

use proptest::prelude::*;

use super::*;
use crate::charge::Meter;
use crate::testing::{Rows, any_rows, as_versions, flipped, page_of, rows_of};

fn put(value: &[u8]) -> [Version<'_>; 1] {
    [Version { msn: 1, op: Op::Put(value) }]
}

fn page(keys: &[&[u8]]) -> Page {
    let mut builder = PageBuilder::new();
    for key in keys {
        builder.push(key, &put(key));
    }
    builder.finish()
}

fn decode(rows: usize, cells: &[u8]) -> Result<Page, Corruption> {
    Page::decode(rows, cells.len(), |into| {
        into.copy_from_slice(cells);
        Ok(())
    })
}

fn reread(page: &Page) -> Page {
    decode(page.rows(), page.cells()).unwrap()
}

fn rule(rows: usize, cells: &[u8]) -> &'static str {
    decode(rows, cells).unwrap_err().rule
}

/// The cells of `KEYS` with `bytes` written over them at `offset`.
fn overwritten(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut cells = page(&KEYS).cells().to_vec();
    cells.splice(offset..offset + bytes.len(), bytes.iter().copied());
    cells
}

#[test]
fn the_empty_key_is_a_key() {
    let page = page(&[b"", b"\0", b"\0\0"]);
    assert_eq!(page.search(b""), Ok(0));
    assert_eq!(page.search(b"\0"), Ok(1));
    assert_eq!(page.search(b"\0\0"), Ok(2));
    assert_eq!(page.search(b"\0\0\0"), Err(3));
    assert_eq!(reread(&page).image(), page.image());
}

#[test]
fn keys_with_equal_heads_are_told_apart() {
    let keys: Vec<Vec<u8>> = (0..50).map(|n| format!("{:<20}{n:02}", "x").into()).collect();
    let keys: Vec<&[u8]> = [&b"a"[..]].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
    let page = page(&keys);
    for (row, key) in keys.iter().enumerate() {
        assert_eq!(page.search(key), Ok(row));
        assert_eq!(page.search(&[key, &b"!"[..]].concat()), Err(row + 1));
    }
}

#[test]
fn keys_around_the_common_prefix_fall_outside() {
    let page = page(&[b"user1", b"user2"]);
    assert_eq!(page.search(b"use"), Err(0));
    assert_eq!(page.search(b"user"), Err(0));
    assert_eq!(page.search(b"tree"), Err(0));
    assert_eq!(page.search(b"v"), Err(2));
    assert_eq!(page.search(b"user11"), Err(1));
}

#[test]
fn the_largest_key_and_a_large_value_fit() {
    let (key, value) = (vec![7; 65_535], vec![8; 3 << 20]);
    let mut builder = PageBuilder::new();
    builder.push(&key, &put(&value));
    let page = reread(&builder.finish());
    assert_eq!(page.first_key(), key);
    assert_eq!(page.versions(0).next().unwrap().op, Op::Put(&value));
}

#[test]
fn versions_stand_newest_first() {
    let versions = [(900, Op::Delete), (7, Op::Put(b"old"))].map(|(msn, op)| Version { msn, op });
    let mut builder = PageBuilder::new();
    builder.push(b"k", &versions);
    let page = builder.finish();
    assert_eq!(page.versions(0).len(), 2);
    assert!(page.versions(0).eq(versions));
}

#[test]
fn a_builder_starts_anew_after_each_page() {
    let mut builder = PageBuilder::new();
    builder.push(b"b", &put(b"1"));
    assert_eq!(rows_of(&builder.finish()).len(), 1);
    assert!(builder.is_empty());
    builder.push(b"a", &put(b"2"));
    let page = builder.finish();
    assert_eq!((page.rows(), page.first_key(), page.last_key()), (1, &b"a"[..], &b"a"[..]));
}

#[test]
fn a_charge_is_given_back_with_the_page() {
    let meter = Meter::new();
    let mut page = page(&[b"k"]);
    page.set_charge(meter.charge(page.bytes()));
    assert_eq!(meter.bytes(), page.bytes() as u64);
    drop(page);
    assert_eq!(meter.bytes(), 0);
}

#[test]
#[should_panic(expected = "at least one row")]
fn a_page_without_rows_is_not_built() {
    let _ = PageBuilder::new().finish();
}

// The cells of keys "ka" and "kb", of ten bytes each: key length, key, count, kind, msn,
// payload length, payload.
const KEYS: [&[u8]; 2] = [b"ka", b"kb"];

#[test]
fn counts_of_rows_are_checked() {
    assert_eq!(page(&KEYS).bytes(), 24 + 20);
    let cells = overwritten(0, &[]);
    assert_eq!(rule(0, &cells), "the count of rows is out of range");
    assert_eq!(rule(usize::MAX, &cells), "the count of rows is out of range");
    assert_eq!(rule(4, &cells), "the count of rows is out of range");
    assert_eq!(rule(3, &cells), "it ends too early");
    assert_eq!(rule(1, &cells), "bytes follow its end");
    assert_eq!(rule(1, &[]), "the count of rows is out of range");
}

#[test]
fn cells_are_checked() {
    assert_eq!(rule(2, &overwritten(13, b"a")), "keys do not ascend");
    assert_eq!(rule(2, &overwritten(14, &[0])), "a key has no version");
    assert_eq!(rule(2, &overwritten(15, &[3])), "the kind of an op is unknown");
    assert_eq!(rule(2, &overwritten(15, &[2])), "the kind of an op is unknown");
    assert_eq!(rule(2, &overwritten(17, &[1])), "bytes follow its end");
    let mut longer = page(&KEYS).cells().to_vec();
    longer.push(0);
    assert_eq!(rule(2, &longer), "bytes follow its end");
}

#[test]
fn a_reader_that_fails_is_told() {
    let broken = Corruption::new("page", 7, "it cannot be read");
    let read = Page::decode(1, 10, |_| Err(broken.clone()));
    assert_eq!(read.unwrap_err(), broken);
}

#[test]
fn versions_out_of_order_are_refused() {
    let mut builder = PageBuilder::new();
    let versions = [9, 8].map(|msn| Version { msn, op: Op::Delete });
    builder.push(b"k", &versions);
    let mut cells = builder.finish().cells().to_vec();
    *cells.last_chunk_mut().unwrap() = [9, 0];
    assert_eq!(rule(1, &cells), "versions do not stand newest first");
}

/// Touches everything that a page can be asked for.
fn read_all(page: &Page) -> Rows {
    let rows = rows_of(page);
    for row in 0..page.rows() {
        assert_eq!(page.search(page.key(row)), Ok(row));
    }
    rows
}

/// What no reader takes would be on disk for ever.
#[test]
#[should_panic(expected = "a page stays below 1 GiB")]
fn a_row_that_no_reader_takes_is_not_made_a_page() {
    let payload = vec![0; VALUE_BYTES_MAX];
    let versions = (0..17).rev().map(|msn| Version { msn, op: Op::Put(&payload) });
    Page::of_row(b"key", &versions.collect::<Vec<_>>());
}

#[test]
fn a_row_alone_is_the_page_that_a_builder_makes() {
    let versions =
        [Version { msn: 9, op: Op::Merge(b"+1") }, Version { msn: 3, op: Op::Put(&[7; 900_000]) }];
    let mut builder = PageBuilder::new();
    builder.push(b"key", &versions);
    let (built, alone) = (builder.finish(), Page::of_row(b"key", &versions));
    assert_eq!(built.image(), alone.image());
    assert_eq!((alone.search(b"key"), alone.has_operands()), (Ok(0), true));
    assert_eq!(alone.search(b"kez"), built.search(b"kez"));
}

proptest! {
    #[test]
    fn rows_round_trip(rows in any_rows()) {
        let page = page_of(&rows);
        prop_assert_eq!(&rows_of(&page), &rows);
        let read = reread(&page);
        prop_assert_eq!(read.image(), page.image());
        prop_assert_eq!(&read_all(&read), &rows);
    }

    #[test]
    fn searches_agree_with_a_sorted_vector(
        rows in any_rows(),
        key in prop::collection::vec(0u8..3, 0..14),
    ) {
        let page = page_of(&rows);
        let keys: Vec<&Vec<u8>> = rows.keys().collect();
        prop_assert_eq!(page.search(&key), keys.binary_search(&&key));
        for (row, key) in keys.iter().enumerate() {
            prop_assert_eq!(page.search(key), Ok(row));
        }
    }

    #[test]
    fn sizes_are_exact(rows in any_rows()) {
        let mut builder = PageBuilder::new();
        for (key, versions) in &rows {
            let before = builder.bytes();
            builder.push(key, &as_versions(versions));
            let added = PageBuilder::cell_bytes(key, &as_versions(versions));
            prop_assert_eq!(builder.bytes(), before + added);
        }
        let bytes = builder.bytes();
        prop_assert_eq!(builder.rows(), rows.len());
        prop_assert_eq!(builder.finish().bytes(), bytes);
    }

    #[test]
    fn one_image_for_one_content(rows in any_rows(), bit in any::<prop::sample::Index>()) {
        // Whatever a flipped bit turns the page into is refused, or is another content whose
        // own image it is: no bit is without meaning.
        let page = page_of(&rows);
        let cells = flipped(page.cells(), bit.index(page.cells().len() * 8));
        if let Ok(other) = decode(page.rows(), &cells) {
            let read = read_all(&other);
            prop_assert_ne!(&read, &rows);
            let again = page_of(&read);
            prop_assert_eq!(again.cells(), cells);
        }
    }

    #[test]
    fn damaged_pages_decode_or_fail(
        rows in any_rows(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..20), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut cells = page_of(&rows).cells().to_vec();
        for (place, byte) in damage {
            *place.get_mut(&mut cells) = byte;
        }
        if cut.index(4) == 0 {
            cells.truncate(cut.index(cells.len()));
        }
        if let Ok(page) = decode(rows.len(), &cells) {
            read_all(&page);
        }
    }

    #[test]
    fn any_bytes_decode_or_fail(
        cells in prop::collection::vec(0u8..4, 0..200),
        rows in 0usize..40,
    ) {
        if let Ok(page) = decode(rows, &cells) {
            read_all(&page);
        }
    }
}
