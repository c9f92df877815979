//! Bytes that nobody wrote under checksums that hold: they are refused, or make something sound.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use sapwood_damage::anatomy::Anatomy;
use sapwood_damage::decoders::Decodes;
use sapwood_damage::forge::Forgery;
use sapwood_damage::judge::survive;
use sapwood_damage::memory::peak_of;
use sapwood_damage::samples;
use sapwood_damage::specimen::{Kind, Specimen};
use sapwood_damage::sweep::Sweep;
use sapwood_sim::random::Random;

/// What a decoder may take besides what its input justifies.
const MEMORY_FLOOR: u64 = 64 << 10;
const MEMORY_PER_BYTE: u64 = 512;

#[test]
fn samples_are_sound_and_each_decoder_has_some() {
    for decoder in Decodes::ALL {
        let samples = samples::of(decoder);
        assert!(!samples.is_empty(), "{decoder:?}");
        for sample in samples {
            decoder.feed(&sample).unwrap_or_else(|error| panic!("{decoder:?}: {error}"));
        }
    }
}

#[test]
fn every_decoder_refuses_or_is_sound() {
    let is_all = std::env::var("SAPWOOD_DAMAGE").is_ok_and(|which| which == "all");
    let (rounds, samples_max, places) = if is_all { (4000, 1000, 5000) } else { (100, 5, 150) };
    let seed = std::env::var("SAPWOOD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(0);
    let mut tally = BTreeMap::new();
    for decoder in Decodes::ALL {
        let samples = samples::of(decoder);
        let every = samples.len().div_ceil(samples_max);
        for (number, sample) in (0..).zip(samples.into_iter().step_by(every)) {
            let mut random = Random::new(seed ^ number);
            for mutant in mutants(&sample, places, rounds, &mut random) {
                let (fed, peak) = peak_of(|| decoder.feed(&mutant));
                let most = MEMORY_FLOOR + MEMORY_PER_BYTE * mutant.len() as u64;
                assert!(peak <= most, "{decoder:?} takes {peak} bytes for {mutant:?}");
                let (sound, refused) = tally.entry(format!("{decoder:?}")).or_insert((0, 0));
                if fed.is_ok() { *sound += 1 } else { *refused += 1 }
            }
        }
    }
    println!("decoder: (sound, refused) of SAPWOOD_SEED={seed}: {tally:?}");
    for (decoder, (_, refused)) in tally {
        assert!(refused > 100, "{decoder} has hardly refused anything: {refused}");
    }
}

/// At up to `places` places another byte, and the end; then `rounds` times anything.
fn mutants<'s>(
    sample: &'s [u8],
    places: usize,
    rounds: usize,
    random: &'s mut Random,
) -> impl Iterator<Item = Vec<u8>> + 's {
    let every = sample.len().div_ceil(places).max(1);
    let bytes = (0..sample.len()).step_by(every).flat_map(|at| {
        let was = sample[at];
        [0, 1, was ^ 1, was ^ 0x80, was.wrapping_add(1), 0xff].map(|byte| {
            let mut mutant = sample.to_vec();
            mutant[at] = byte;
            mutant
        })
    });
    let lengths = (0..sample.len()).step_by(every).map(|length| sample[..length].to_vec());
    bytes.chain(lengths).chain((0..rounds).map(|_| anything(sample, random)))
}

/// Several changes: bytes, numbers that overflow, pieces doubled, moved or lost.
fn anything(sample: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutant = sample.to_vec();
    for _ in 0..=random.below(4) {
        let length = mutant.len() as u64;
        if length == 0 {
            return mutant;
        }
        let at = usize::try_from(random.below(length)).unwrap();
        let span = usize::try_from(random.below(12)).unwrap().min(mutant.len() - at);
        match random.below(6) {
            0 => mutant[at] = u8::try_from(random.below(256)).unwrap(),
            1 => drop(mutant.splice(at..at, [0xff; 9].into_iter().chain([1]))),
            2 => drop(mutant.drain(at..at + span)),
            3 => {
                let piece = mutant[at..at + span].to_vec();
                let to = usize::try_from(random.below(length)).unwrap();
                drop(mutant.splice(to..to, piece));
            }
            4 => mutant[at..at + span].fill(0xff),
            _ => random.fill(&mut mutant[at..at + span]),
        }
    }
    mutant
}

#[test]
fn a_forged_database_is_refused_or_used() {
    let mut sweep = Sweep::new("a_forged_database_is_refused_or_used", 199);
    let keys: [&[u8]; 4] = [b"key-0003", b"key-0017", b"key-0040", b""];
    let mut panics: BTreeMap<String, String> = BTreeMap::new();
    for kind in Kind::ALL {
        let files = Specimen::of(kind).files;
        let anatomy = Anatomy::of(&files);
        let forgeries = Forgery::all(&files, &anatomy);
        sweep.go(&format!("{kind:?}"), forgeries, |_, forgery| {
            let forged = forgery.apply(&files, &anatomy);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| survive(&forged, &keys))) {
                let told = panic.downcast_ref::<String>().cloned();
                let told = told.or(panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
                let told = told.unwrap_or_default();
                let kind_of: String = told.chars().filter(|it| !it.is_ascii_digit()).collect();
                panics.entry(kind_of).or_insert(format!("{kind:?} {forgery}"));
            }
            BTreeSet::new()
        });
    }
    sweep.expect(1000);
    assert!(panics.is_empty(), "{panics:#?}");
}
