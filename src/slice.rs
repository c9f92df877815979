//! The byte strings that reads hand out: short ones inline, long ones as views of what holds them.
//!
//! ```text
//! up to 23 bytes   [ inline | bytes ................ | length ]   nothing allocated, nothing held
//! longer           [ shared | owner -> page | start | length ]    one reference count, no copy
//! ```
//!
//! Invariants:
//! 1. a shared slice lies inside its owner's bytes, which never move or change while it is owned;
//! 2. equality, order and hash are those of the bytes, whichever way they are held;
//! 3. bytes that fit inline are always inline, so a short slice never keeps a page in memory.
//!
//! Threads: a slice is immutable; clones go to any thread.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// What fits beside the length without making the slice larger than four words.
const INLINE_BYTES_MAX: usize = 23;

/// Bytes, and behind them how many there are.
///
/// In whole words, as is the mark of what a slice is: so it is put together in registers, stored in
/// pieces that do not overlap, and moved in such. Reading across two pieces that were just stored
/// waits for both: a twentieth of a short scan's time (note 26).
#[derive(Clone, Copy)]
#[repr(align(8))]
struct InlineBytes([u8; INLINE_BYTES_MAX + 1]);

impl InlineBytes {
    /// A copy of `bytes`, if they are few enough.
    #[inline]
    fn copy_of(bytes: &[u8]) -> Option<InlineBytes> {
        let len = u8::try_from(bytes.len()).ok()?;
        let mut copy = [0; INLINE_BYTES_MAX + 1];
        let place = copy.get_mut(..INLINE_BYTES_MAX)?.get_mut(..bytes.len())?;
        // Most keys are so long. What of the last eight bytes is among the first sixteen already is
        // shifted out.
        match (bytes.first_chunk::<16>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                let again = 8 * (24 - u32::from(len));
                let rest = u64::from_le_bytes(*last).checked_shr(again).unwrap_or(0);
                *copy.first_chunk_mut()? = *first;
                *copy.last_chunk_mut()? = (rest | u64::from(len) << 56).to_le_bytes();
            }
            _ => {
                place.copy_from_slice(bytes);
                *copy.last_mut()? = len;
            }
        }
        Some(InlineBytes(copy))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0[..usize::from(self.0[INLINE_BYTES_MAX])]
    }
}

/// An immutable byte string that is cheap to clone: a key or a value as it was read.
///
/// It derefs to `[u8]`, and compares and hashes like it. A long slice is a view of the page that
/// it was read from and keeps that page in memory; [`Slice::detach`] ends that.
///
/// ```
/// use sapwood::Slice;
///
/// let slice = Slice::copy_from(b"heartwood");
/// assert_eq!(slice, "heartwood");
/// assert_eq!(&slice[..5], b"heart");
/// assert_eq!(slice.to_vec(), b"heartwood");
/// assert!(slice < Slice::from("sapwood".as_bytes()));
/// ```
#[derive(Clone)]
pub struct Slice(Repr);

#[derive(Clone)]
#[repr(u64)]
enum Repr {
    Inline(InlineBytes),
    Shared { owner: Arc<dyn Owner>, start: u32, len: u32 },
}

/// Something that holds bytes in place for as long as it lives.
pub(crate) trait Owner: Send + Sync {
    /// The bytes; every call returns the same ones, at the same address.
    fn bytes(&self) -> &[u8];
}

impl Owner for Box<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Owner for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Slice {
    /// A slice that holds a copy of `bytes`.
    ///
    /// ```
    /// # use sapwood::Slice;
    /// assert!(Slice::copy_from(b"").is_empty());
    /// assert_eq!(Slice::copy_from(&[7; 1000]).len(), 1000);
    /// ```
    ///
    /// # Panics
    /// When `bytes` are 4 GiB or more; no key or value is.
    pub fn copy_from(bytes: &[u8]) -> Slice {
        Slice::inline(bytes).unwrap_or_else(|| Slice::whole(Arc::new(Box::<[u8]>::from(bytes))))
    }

    /// The part of `owner` that `bytes` are, without a copy unless they are short.
    ///
    /// # Panics
    /// When `bytes` do not lie inside `owner.bytes()`, or 4 GiB or more into them.
    #[inline]
    pub(crate) fn within<O: Owner + 'static>(owner: &Arc<O>, bytes: &[u8]) -> Slice {
        Slice::inline(bytes).unwrap_or_else(|| {
            let start = offset_within(owner.bytes(), bytes);
            Slice::view(owner.clone(), start, bytes.len())
        })
    }

    /// The same bytes, held by nothing but this slice and its clones.
    ///
    /// A long slice keeps the whole page that it was read from in memory. Detach the ones that are
    /// kept for long. Nothing is copied when there is nothing to let go.
    ///
    /// ```
    /// # use sapwood::Slice;
    /// let kept = Slice::copy_from(&[7; 100]).detach();
    /// assert_eq!(kept, [7; 100]);
    /// ```
    #[must_use]
    pub fn detach(&self) -> Slice {
        match &self.0 {
            Repr::Shared { owner, len, .. } if owner.bytes().len() != *len as usize => {
                Slice::copy_from(self)
            }
            _ => self.clone(),
        }
    }

    #[inline]
    fn inline(bytes: &[u8]) -> Option<Slice> {
        InlineBytes::copy_of(bytes).map(|copy| Slice(Repr::Inline(copy)))
    }

    fn whole<O: Owner + 'static>(owner: Arc<O>) -> Slice {
        let len = owner.bytes().len();
        Slice::view(owner, 0, len)
    }

    fn view(owner: Arc<dyn Owner>, start: usize, len: usize) -> Slice {
        let narrow = |bytes| u32::try_from(bytes).expect("a slice ends within 4 GiB of its owner");
        Slice(Repr::Shared { owner, start: narrow(start), len: narrow(len) })
    }
}

/// Where `part` starts inside `whole`, by address.
fn offset_within(whole: &[u8], part: &[u8]) -> usize {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr());
    let start = start.expect("a slice does not begin before its owner");
    assert!(start + part.len() <= whole.len(), "a slice does not end behind its owner");
    start
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(inline) => inline.bytes(),
            Repr::Shared { owner, start, len } => {
                &owner.bytes()[*start as usize..][..*len as usize]
            }
        }
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Slice {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Default for Slice {
    fn default() -> Slice {
        Slice::copy_from(b"")
    }
}

impl From<&[u8]> for Slice {
    fn from(bytes: &[u8]) -> Slice {
        Slice::copy_from(bytes)
    }
}

/// Takes the vector without a copy, unless it is short.
impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Slice {
        Slice::inline(&bytes).unwrap_or_else(|| Slice::whole(Arc::new(bytes)))
    }
}

impl From<Slice> for Vec<u8> {
    fn from(slice: Slice) -> Vec<u8> {
        slice.to_vec()
    }
}

/// A byte-string literal: what is not printable ASCII is escaped.
impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl Hash for Slice {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self[..].hash(state);
    }
}

impl Eq for Slice {}

impl Ord for Slice {
    fn cmp(&self, other: &Slice) -> Ordering {
        self[..].cmp(&other[..])
    }
}

impl PartialOrd for Slice {
    fn partial_cmp(&self, other: &Slice) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Slice {
    fn eq(&self, other: &Slice) -> bool {
        self[..] == other[..]
    }
}

impl PartialEq<[u8]> for Slice {
    fn eq(&self, other: &[u8]) -> bool {
        self[..] == *other
    }
}

impl PartialEq<&[u8]> for Slice {
    fn eq(&self, other: &&[u8]) -> bool {
        self[..] == **other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Slice {
    fn eq(&self, other: &[u8; N]) -> bool {
        self[..] == *other
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Slice {
    fn eq(&self, other: &&[u8; N]) -> bool {
        self[..] == **other
    }
}

impl PartialEq<Vec<u8>> for Slice {
    fn eq(&self, other: &Vec<u8>) -> bool {
        self[..] == other[..]
    }
}

impl PartialEq<str> for Slice {
    fn eq(&self, other: &str) -> bool {
        self[..] == *other.as_bytes()
    }
}

impl PartialEq<&str> for Slice {
    fn eq(&self, other: &&str) -> bool {
        self[..] == *other.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    fn page() -> Arc<Vec<u8>> {
        Arc::new((0..=255).collect())
    }

    #[test]
    fn slices_are_at_most_four_words() {
        assert!(size_of::<Slice>() <= 32, "{}", size_of::<Slice>());
        assert_eq!(size_of::<Option<Slice>>(), size_of::<Slice>());
    }

    #[test]
    fn every_length_round_trips() {
        for len in 0..100_u8 {
            let bytes: Vec<u8> = (0..len).collect();
            let copied = Slice::copy_from(&bytes);
            let taken = Slice::from(bytes.clone());
            assert_eq!(copied, bytes);
            assert_eq!(copied, taken);
            assert_eq!(Vec::from(taken), bytes);
        }
    }

    #[test]
    fn only_long_slices_hold_their_owner() {
        let owner = page();
        let short = Slice::within(&owner, &owner[10..10 + INLINE_BYTES_MAX]);
        assert_eq!(Arc::strong_count(&owner), 1);
        let long = Slice::within(&owner, &owner[10..11 + INLINE_BYTES_MAX]);
        assert_eq!(Arc::strong_count(&owner), 2);
        assert_eq!(short[..], long[..INLINE_BYTES_MAX]);
        assert_eq!(long.as_ptr(), owner[10..].as_ptr());
    }

    #[test]
    fn a_slice_may_end_where_its_owner_ends() {
        let owner = page();
        let tail = Slice::within(&owner, &owner[200..]);
        assert_eq!(tail, owner[200..]);
        assert_eq!(Slice::within(&owner, &owner[..]), *owner);
        assert_eq!(Slice::within(&owner, &owner[256..]), b"");
    }

    #[test]
    fn detached_slices_let_go_of_their_owner() {
        let owner = page();
        let detached = Slice::within(&owner, &owner[..100]).detach();
        assert_eq!(Arc::strong_count(&owner), 1);
        assert_eq!(detached, owner[..100]);
        assert_eq!(detached.detach().as_ptr(), detached.as_ptr(), "nothing is left to let go");
    }

    #[test]
    #[should_panic(expected = "its owner")]
    fn foreign_bytes_are_refused() {
        let foreign = vec![1; 100];
        let _ = Slice::within(&page(), &foreign);
    }

    #[test]
    fn maps_find_slices_by_bytes() {
        let long = [b'x'; 40];
        let hashed = HashMap::from([(Slice::copy_from(&long), 1)]);
        let sorted = BTreeMap::from([(Slice::copy_from(&long), 1)]);
        assert_eq!(hashed.get(&long[..]), Some(&1));
        assert_eq!(sorted.get(&long[..]), Some(&1));
    }

    #[test]
    fn order_is_that_of_the_bytes() {
        let words: [&[u8]; 6] = [b"", b"a", b"a\0", b"aaaaaaaaaaaaaaaaaaaaaaaaa", b"b", b"\xff"];
        assert!(words.map(Slice::copy_from).is_sorted_by(|low, high| low < high));
    }

    #[test]
    fn debug_is_a_byte_string() {
        assert_eq!(format!("{:?}", Slice::copy_from(b"a\"\n\xff")), r#"b"a\"\n\xff""#);
        assert_eq!(format!("{:?}", Slice::default()), r#"b"""#);
    }

    #[test]
    fn comparisons_take_what_is_at_hand() {
        let slice = Slice::copy_from(b"ab");
        assert!(slice == *"ab" && slice == "ab" && slice == vec![b'a', b'b']);
        assert!(slice == b"ab" && slice == *b"ab" && slice == b"ab"[..]);
        let borrowed: &[u8] = b"ab";
        assert!(slice == borrowed);
    }

    #[test]
    fn slices_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Slice>();
    }
}
