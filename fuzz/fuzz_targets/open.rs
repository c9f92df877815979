//! Whole databases with any bytes in any piece, sealed up to the superblock: opened, read,
//! verified, written to, closed.
//!
//! ```text
//! input    kind u8 | edit | edit ...        edit     piece u8 | offset u16 | length u8 | bytes
//! ```

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sapwood_damage::anatomy::Anatomy;
use sapwood_damage::files::Files;
use sapwood_damage::forge::seal;
use sapwood_damage::judge::survive;
use sapwood_damage::specimen::{Kind, Specimen};

static SPECIMENS: LazyLock<Vec<(Files, Anatomy)>> = LazyLock::new(|| {
    let take_apart = |kind| {
        let files = Specimen::of(kind).files;
        let anatomy = Anatomy::of(&files);
        (files, anatomy)
    };
    Kind::ALL.into_iter().map(take_apart).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, mut edits)) = bytes.split_first() else { return };
    let (sound, anatomy) = &SPECIMENS[usize::from(*kind) % SPECIMENS.len()];
    let mut forged = sound.clone();
    // What was sealed once has other checksums than `sound`, so each edit starts from there.
    let mut before = sound.clone();
    while let [piece, low, high, length, rest @ ..] = edits {
        let index = usize::from(*piece) % anatomy.pieces.len();
        let place = &anatomy.pieces[index];
        let offset = usize::from(u16::from_le_bytes([*low, *high])) % place.range.len();
        let length = usize::from(*length).min(rest.len()).min(place.range.len() - offset);
        let start = place.range.start + offset;
        let (new, behind) = rest.split_at(length);
        forged.bytes_mut(&place.file)[start..start + length].copy_from_slice(new);
        seal(&mut forged, &before, anatomy, index);
        before = forged.clone();
        edits = behind;
    }
    survive(&forged, &[b"key-0003", b"key-0017", b""]);
});
