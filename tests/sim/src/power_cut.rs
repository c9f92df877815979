//! What survives a power cut.
//!
//! Until a sync, every change is *pending*, and a power cut may keep or lose each one on its own,
//! whatever was done before or after it and to whichever file:
//!
//! ```text
//! write  that ends within the file   kept, lost, or torn: any set of its 512-byte sectors,
//!                                    or all bytes up to or from any byte
//! write  that grows the file         its data as above, its length apart from it: length without
//!                                    data shows zeros or noise, data without length is not there
//! set_len, allocate, punch           kept or lost
//! create, remove                     kept or lost, apart from the file's bytes
//! ```
//!
//! No byte outside of a pending change is ever harmed.

use std::ops::Range;
use std::sync::Arc;

use crate::image::Image;
use crate::random::Random;

const SECTOR_BYTES: usize = 512;

/// Which of the pending changes a power cut keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// None.
    LoseAll,
    /// All.
    KeepAll,
    /// Each one is kept, lost or torn, as this seed says.
    Random(u64),
    /// The newer half, over all files and names: the worst order a cache can write back in.
    KeepLastLoseFirst,
    /// Only this one, counted from the oldest; see `SimDisk::pending`.
    KeepOne(usize),
    /// All but this one, counted from the oldest.
    LoseOne(usize),
    /// Of the newest [`NEWEST`] those whose bit is set, the newest first; of the others all or
    /// none.
    Newest { kept: u32, others: Others },
}

/// How many pending changes [`Cut::Newest`] tells apart.
pub const NEWEST: usize = 4;

/// What becomes of all changes that are not among the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    Kept,
    Lost,
}

/// A change of one file's bytes.
#[derive(Clone)]
pub enum Change {
    Write { bytes: Arc<[u8]>, offset: usize },
    SetLength(usize),
    Reserve(Range<usize>),
    Clear(Range<usize>),
}

impl Change {
    /// Does the whole of it.
    pub fn apply(&self, image: &mut Image) {
        match self {
            Change::Write { bytes, offset } => image.write(bytes, *offset),
            Change::SetLength(length) => image.set_length(*length),
            Change::Reserve(range) => image.reserve(range.clone()),
            Change::Clear(range) => image.clear(range.clone()),
        }
    }
}

/// A change of which file a name stands for; `None` when it was removed.
#[derive(Clone)]
pub struct NameChange {
    pub name: String,
    pub file: Option<u64>,
}

/// A change that no sync has made durable, and its place in the order of all of them.
#[derive(Clone)]
pub struct Pending<T> {
    pub sequence: u64,
    pub change: T,
}

/// Decides the fate of one pending change after the other.
pub struct Survival {
    cut: Cut,
    // All pending changes of the disk, oldest first.
    sequences: Vec<u64>,
    random: Random,
    keep_percent: u64,
}

impl Survival {
    /// The fates that `cut` deals out to the changes with these sequence numbers, in any order.
    pub fn new(cut: Cut, mut sequences: Vec<u64>) -> Survival {
        sequences.sort_unstable();
        let mut random = Random::new(if let Cut::Random(seed) = cut { seed } else { 0 });
        // Cuts that lose nearly all or nearly nothing find other faults than even ones.
        let keep_percent = [10, 50, 90][usize::from(random.draw().to_le_bytes()[0] % 3)];
        Survival { cut, sequences, random, keep_percent }
    }

    /// Whether a change that cannot be torn survives.
    pub fn is_kept(&mut self, sequence: u64) -> bool {
        let place = self.sequences.partition_point(|other| *other < sequence);
        match self.cut {
            Cut::LoseAll => false,
            Cut::KeepAll => true,
            Cut::Random(_) => self.random.chance(self.keep_percent),
            Cut::KeepLastLoseFirst => place >= self.sequences.len() / 2,
            Cut::KeepOne(kept) => place == kept,
            Cut::LoseOne(lost) => place != lost,
            Cut::Newest { kept, others } => match self.sequences.len() - 1 - place {
                age @ 0..NEWEST => kept >> age & 1 == 1,
                _ => others == Others::Kept,
            },
        }
    }

    /// Does to the image what survives of a change.
    pub fn apply(&mut self, pending: &Pending<Change>, image: &mut Image) {
        match &pending.change {
            Change::Write { bytes, offset } if matches!(self.cut, Cut::Random(_)) => {
                self.write(bytes, *offset, image);
            }
            change => {
                if self.is_kept(pending.sequence) {
                    change.apply(image);
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8], offset: usize, image: &mut Image) {
        let end = offset + bytes.len();
        if end > image.length() && self.random.chance(self.keep_percent) {
            let start = offset.max(image.length());
            image.set_length(end);
            if self.random.chance(33) {
                let mut noise = vec![0; end - start];
                self.random.fill(&mut noise);
                image.write(&noise, start);
            }
        }
        let visible = bytes.len().min(image.length().saturating_sub(offset));
        for range in self.surviving(offset, bytes.len()) {
            let range = range.start.min(visible)..range.end.min(visible);
            image.write(&bytes[range.clone()], offset + range.start);
        }
    }

    /// The parts of a write at `offset` that survive, as ranges of its bytes.
    fn surviving(&mut self, offset: usize, length: usize) -> Vec<Range<usize>> {
        if self.random.chance(12) {
            return sectors(offset, length).filter(|_| self.random.chance(50)).collect();
        }
        let torn = self.random.below(length as u64);
        let torn = usize::try_from(torn).expect("it is below the length");
        let range = match self.random.below(100) {
            0..7 => 0..torn,
            7..14 => torn..length,
            _ if self.random.chance(self.keep_percent) => 0..length,
            _ => 0..0,
        };
        vec![range]
    }
}

/// Cuts the bytes of a write at `offset` where the file's sectors end.
fn sectors(offset: usize, length: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = length.min(start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES);
        let range = start..end;
        start = end;
        Some(range).filter(|range| !range.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_cut_at_file_offsets() {
        let all = |offset, length| sectors(offset, length).collect::<Vec<_>>();
        assert_eq!(all(500, 600), [0..12, 12..524, 524..600]);
        assert_eq!(all(512, 1024), [0..512, 512..1024]);
        assert!(all(0, 0).is_empty());
    }

    /// What random cuts leave of one pending write.
    fn outcomes(before: &[u8], bytes: &[u8], offset: usize) -> Vec<Vec<u8>> {
        let change = Change::Write { bytes: bytes.into(), offset };
        let outcome = |seed| {
            let mut image = Image::of(before);
            let pending = Pending { sequence: 0, change: change.clone() };
            Survival::new(Cut::Random(seed), vec![0]).apply(&pending, &mut image);
            image.to_vec()
        };
        (0..500).map(outcome).collect()
    }

    #[test]
    fn overwrites_are_kept_lost_and_torn_but_harm_nothing_else() {
        let outcomes = outcomes(&[1; 4096], &[2; 1500], 300);
        assert!(outcomes.contains(&vec![1; 4096]));
        assert!(outcomes.iter().any(|image| image[300..1800] == [2; 1500]));
        let has_byte_tear = |image: &Vec<u8>| {
            let torn = image.windows(2).position(|pair| pair[0] != pair[1]);
            torn.is_some_and(|place| (place + 1) % SECTOR_BYTES != 0 && place != 299)
        };
        let has_sector_tear = |image: &Vec<u8>| {
            image[300..1800].contains(&1) && image[512..1024] == [2; 512] && image[1024] == 1
        };
        assert!(outcomes.iter().any(has_byte_tear));
        assert!(outcomes.iter().any(has_sector_tear));
        for image in outcomes {
            assert_eq!(
                (image.len(), &image[..300], &image[1800..]),
                (4096, &[1; 300][..], &[1; 2296][..])
            );
        }
    }

    #[test]
    fn growth_and_its_data_survive_apart() {
        let outcomes = outcomes(&[1; 1000], &[2; 1000], 1500);
        assert!(outcomes.contains(&vec![1; 1000]), "neither");
        let grown: Vec<_> = outcomes.iter().filter(|image| image.len() == 2500).collect();
        assert!(grown.iter().any(|image| image[1500..] == [2; 1000]), "both");
        assert!(grown.iter().any(|image| image[1500..] == [0; 1000]), "zeros");
        let is_noise = |image: &[u8]| !image.contains(&2) && image.iter().any(|byte| *byte > 2);
        assert!(grown.iter().any(|image| is_noise(&image[1500..1510])), "noise");
        for image in &outcomes {
            assert!(matches!(image.len(), 1000 | 2500) && image[..1000] == [1; 1000]);
            assert!(image.iter().skip(1000).take(500).all(|byte| *byte == 0), "the gap is a hole");
        }
    }
}
