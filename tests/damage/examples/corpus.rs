//! Writes the corpus that fuzzing begins with: sound bytes for each decoder, and small edits of
//! pieces of whole databases.

use std::fs;
use std::path::Path;

use sapwood_damage::decoders::Decodes;
use sapwood_damage::samples;

/// No file of the corpus is larger.
const BYTES_MAX: usize = 2048;
/// So many for each decoder.
const EACH: usize = 4;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    fs::create_dir_all(corpus.join("decoders"))?;
    fs::create_dir_all(corpus.join("open"))?;
    for (number, decoder) in (0u8..).zip(Decodes::ALL) {
        let small = samples::of(decoder).into_iter().filter(|sample| sample.len() < BYTES_MAX);
        let small: Vec<_> = small.collect();
        let every = small.len().div_ceil(EACH).max(1);
        for (index, sample) in small.iter().step_by(every).enumerate() {
            let name = format!("{decoder:?}-{index}").to_lowercase();
            fs::write(corpus.join("decoders").join(name), [&[number], &sample[..]].concat())?;
        }
    }
    for kind in 0u8..4 {
        for piece in (0u8..80).step_by(9) {
            let edits = [kind, piece, 20, 0, 1, 0xff, piece + 1, 48, 0, 2, 0, 1];
            fs::write(corpus.join("open").join(format!("{kind}-{piece}")), edits)?;
        }
    }
    Ok(())
}
