//! Any bytes, sealed, for each decoder: the first byte chooses which.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sapwood_damage::decoders::Decodes;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let decoder = Decodes::ALL[usize::from(*choice) % Decodes::ALL.len()];
    let _refused_or_sound = decoder.feed(rest);
});
