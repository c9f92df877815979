//! Which versions of one key must be kept.
//!
//! A reader at MSN `r` sees the newest version at or below `r`. Readers are either registered at a
//! fixed MSN, or read at whatever is visible now or later. So a version may go if and only if
//!
//! 1. a newer version at or below the visible MSN exists, and
//! 2. no registered MSN lies between: at or above the old one and below the newer one.
//!
//! In a leaf nothing lies below, so a `Delete` that became the oldest version says what absence
//! says, and goes too.
//!
//! A merge operand hides nothing: what it changes lies below it. Operands between which no reader
//! is registered become one, and with the value below them one value:
//!
//! ```text
//! newest first    +2 @9   +1 @8 | =5 @4   +7 @2        a reader at 5
//! left            =8 @9         | =5 @4                both can be told
//!
//! newest first    +2 @9   +1 @8 | +7 @2                the same, nothing known below
//! left            +3 @9         | +7 @2                in a leaf: =10 @9 | =7 @2
//! ```
//!
//! A range delete that covers the key counts as a `Delete` at its own MSN. It hides what is older,
//! but is not written down for the key: in a buffer it stands beside the rows, in a leaf nothing is
//! left for it to say.

use std::borrow::Cow;
use std::ops::Deref;

use crate::{MergeError, Msn, Op, OpKind, Operator, Sight, Version};

/// What a job may forget: taken after the job has fixed its inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    visible: u64,
    registered: Vec<u64>,
}

impl Horizon {
    /// The visible MSN and the MSNs at which readers are registered, in any order.
    pub fn new(visible: Msn, registered: impl IntoIterator<Item = Msn>) -> Horizon {
        let mut registered: Vec<u64> = registered.into_iter().map(Msn::to_raw).collect();
        registered.sort_unstable();
        registered.dedup();
        Horizon { visible: visible.to_raw(), registered }
    }

    /// Whether the version at `older` can be forgotten because of the one at `newer`. Numbers that
    /// were read can be in any order; nothing is forgotten for one that is not newer.
    pub fn hides(&self, newer: u64, older: u64) -> bool {
        older < newer && newer <= self.visible && !self.has_reader(older, newer)
    }

    /// Whether a reader that is there, or one that is still to come, sees what was before `msn`.
    pub fn sees_before(&self, msn: Msn) -> bool {
        self.visible < msn.to_raw() || self.has_reader(0, msn.to_raw())
    }

    fn has_reader(&self, from: u64, before: u64) -> bool {
        let next = self.registered.partition_point(|msn| *msn < from);
        self.registered.get(next).is_some_and(|msn| *msn < before)
    }
}

/// Where the folded versions will live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// In a buffer: older versions may lie below.
    Buffer,
    /// In a leaf: nothing lies below.
    Leaf,
}

/// What decides which versions stay, and as what.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'r> {
    /// What may be forgotten.
    pub horizon: &'r Horizon,
    /// Where the versions will live.
    pub floor: Floor,
    /// How operands are merged; without it they wait.
    pub operator: Option<&'r Operator>,
}

/// The versions of one key that are left, newest first.
#[derive(Debug)]
pub enum Folded<'a> {
    /// One of those that came in, or none.
    One(Option<Version<'a>>),
    /// Several of them.
    Many(Vec<Version<'a>>),
    /// One that is new.
    Made(Owned<'a>),
    /// Some of them are new, because operands were merged.
    Merged(Vec<Owned<'a>>),
}

/// A version that owns its payload if that was not there before.
#[derive(Debug)]
pub struct Owned<'a> {
    msn: u64,
    kind: u8,
    payload: Cow<'a, [u8]>,
}

impl<'a> Folded<'a> {
    /// The versions, newest first; empty when the key can be forgotten.
    pub fn versions(&self) -> Left<'_> {
        match self {
            Folded::One(version) => Left::These(version.as_slice()),
            Folded::Many(versions) => Left::These(versions),
            Folded::Made(made) => made.version().map_or(Left::These(&[]), |made| Left::One([made])),
            Folded::Merged(versions) => {
                Left::Many(versions.iter().filter_map(Owned::version).collect())
            }
        }
    }
}

/// The versions that a fold has left, as a slice.
#[derive(Debug)]
pub enum Left<'f> {
    /// Versions that stand in a row already.
    These(&'f [Version<'f>]),
    /// A single one.
    One([Version<'f>; 1]),
    /// Several.
    Many(Vec<Version<'f>>),
}

impl<'f> Deref for Left<'f> {
    type Target = [Version<'f>];

    fn deref(&self) -> &[Version<'f>] {
        match self {
            Left::These(versions) => versions,
            Left::One(version) => version,
            Left::Many(versions) => versions,
        }
    }
}

impl<'a> Owned<'a> {
    fn new(version: Version<'a>) -> Owned<'a> {
        let payload = Cow::Borrowed(version.op.payload());
        Owned { msn: version.msn, kind: version.op.kind(), payload }
    }

    fn made(msn: u64, kind: u8, payload: Vec<u8>) -> Owned<'a> {
        Owned { msn, kind, payload: Cow::Owned(payload) }
    }

    fn version(&self) -> Option<Version<'_>> {
        Some(Version { msn: self.msn, op: Op::from_parts(self.kind, &self.payload)? })
    }
}

/// Keeps what a reader may still need of one `key`: of its `versions`, and of the range deletes
/// that cover it, whose MSNs are `covers`; both come newest first.
pub fn fold<'a>(
    key: &[u8],
    versions: impl Iterator<Item = Version<'a>>,
    covers: &[u64],
    rules: Rules<'_>,
) -> Folded<'a> {
    // Nearly always no range delete covers the key, and there is nothing to be interleaved.
    if covers.is_empty() {
        let of_key = |version| Said { version, of: Of::Key };
        return fold_said(key, versions.map(of_key), rules);
    }
    fold_said(key, interleave(versions, covers), rules)
}

fn fold_said<'a>(
    key: &[u8],
    mut said: impl Iterator<Item = Said<'a>>,
    rules: Rules<'_>,
) -> Folded<'a> {
    // Nearly always there is one version, and it says everything.
    let Some(first) = said.next() else { return Folded::One(None) };
    if !matches!(first.version.op, Op::Merge(_)) {
        let newest = first.version.msn;
        let shown = said.by_ref().find(|older| !rules.horizon.hides(newest, older.version.msn));
        let Some(shown) = shown else { return alone(first, rules.floor) };
        return fold_stages(key, [first, shown].into_iter().chain(said), rules);
    }
    // And of a counter an operand or two, with a value below them or without.
    let (mut few, mut count) = ([first; FEW], 1);
    for (place, next) in few.iter_mut().skip(1).zip(said.by_ref()) {
        *place = next;
        count += 1;
    }
    let few = few.get(..count).unwrap_or_default();
    let is_all = count < FEW;
    let folded = if is_all { fold_few(key, few, rules) } else { None };
    folded.unwrap_or_else(|| fold_stages(key, few.iter().copied().chain(said), rules))
}

/// So many versions are looked at before they are sorted into stages.
const FEW: usize = 4;

/// All versions of a key, of which the newest is an operand. `None` where they are not to become
/// one, or cannot: an operator that fails here fails once more where they are sorted into stages.
fn fold_few<'a>(key: &[u8], few: &[Said<'a>], rules: Rules<'_>) -> Option<Folded<'a>> {
    let mut neighbours = few.iter().zip(few.iter().skip(1));
    let hides = |(newer, older): (&Said<'_>, &Said<'_>)| {
        rules.horizon.hides(newer.version.msn, older.version.msn)
    };
    if !neighbours.all(hides) {
        return None;
    }
    let is_operand = |said: &&Said<'_>| matches!(said.version.op, Op::Merge(_));
    let (operands, below) = few.split_at(few.iter().take_while(is_operand).count());
    let newest = operands.first()?.version;
    let base = match (below.first().map(|base| base.version.op), rules.floor) {
        (Some(Op::Put(value)), _) => Base::Value(Cow::Borrowed(value)),
        (Some(Op::Delete | Op::Merge(_)), _) | (None, Floor::Leaf) => Base::Absent,
        (None, Floor::Buffer) if operands.len() == 1 => return Some(Folded::One(Some(newest))),
        (None, Floor::Buffer) => return None,
    };
    let oldest_first = operands.iter().rev().map(|said| said.version.op.payload());
    let value = merged(key, &base, oldest_first, rules.operator)?;
    Some(Folded::Made(Owned::made(newest.msn, OpKind::PUT, value)))
}

/// One version of a key: said of the key itself, or of a range that covers it.
#[derive(Clone, Copy)]
struct Said<'a> {
    version: Version<'a>,
    of: Of,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Key,
    Range,
}

fn interleave<'a>(
    versions: impl Iterator<Item = Version<'a>>,
    covers: &[u64],
) -> impl Iterator<Item = Said<'a>> {
    let mut versions = versions.peekable();
    let mut covers = covers.iter().copied().peekable();
    std::iter::from_fn(move || {
        let deleted = covers.peek().copied();
        let is_next = |version: &Version<'_>| deleted.is_none_or(|msn| msn < version.msn);
        if let Some(version) = versions.next_if(is_next) {
            return Some(Said { version, of: Of::Key });
        }
        let msn = covers.next()?;
        Some(Said { version: Version { msn, op: Op::Delete }, of: Of::Range })
    })
}

/// What stays of a key of which one version hides all others.
fn alone(only: Said<'_>, floor: Floor) -> Folded<'_> {
    // A range delete goes down by itself; a leaf says of an absent key nothing at all.
    let goes = only.of == Of::Range || (floor == Floor::Leaf && only.version.op == Op::Delete);
    Folded::One((!goes).then_some(only.version))
}

/// Versions of which readers see the newest only: operands, newest first, and what they are merged
/// into, if that is known.
struct Stage<'a> {
    operands: Vec<Version<'a>>,
    base: Option<Said<'a>>,
}

/// Sorts versions into stages, newest first: between two of them there is a reader, and what lies
/// behind the base of a stage is hidden.
fn stages<'a>(said: impl Iterator<Item = Said<'a>>, horizon: &Horizon) -> Vec<Stage<'a>> {
    let mut stages: Vec<Stage<'a>> = Vec::new();
    let mut newer: Option<u64> = None;
    for next in said {
        let msn = next.version.msn;
        let same = newer.is_some_and(|newer| horizon.hides(newer, msn));
        newer = Some(msn);
        if !same {
            stages.push(Stage { operands: Vec::new(), base: None });
        }
        let Some(stage) = stages.last_mut().filter(|stage| stage.base.is_none()) else { continue };
        match next.version.op {
            Op::Merge(_) => stage.operands.push(next.version),
            Op::Put(_) | Op::Delete => stage.base = Some(next),
        }
    }
    stages
}

fn fold_stages<'a>(
    key: &[u8],
    said: impl Iterator<Item = Said<'a>>,
    rules: Rules<'_>,
) -> Folded<'a> {
    let mut stages = stages(said, rules.horizon);
    if stages.iter().all(|stage| stage.operands.is_empty()) {
        let mut kept: Vec<Said<'a>> = stages.iter().filter_map(|stage| stage.base).collect();
        if rules.floor == Floor::Leaf {
            while kept.last().is_some_and(|oldest| oldest.version.op == Op::Delete) {
                kept.pop();
            }
        } else {
            kept.retain(|said| said.of == Of::Key);
        }
        return Folded::Many(kept.iter().map(|said| said.version).collect());
    }
    // From the oldest on, so that at a leaf each stage has the one before it to build on.
    let mut folded: Vec<Owned<'a>> = Vec::new();
    let mut known: Base<'a> = match rules.floor {
        Floor::Leaf => Base::Absent,
        Floor::Buffer => Base::Unknown,
    };
    stages.reverse();
    for stage in &stages {
        let (mut made, base) = fold_stage(key, stage, known, rules);
        known = base;
        folded.append(&mut made);
    }
    if rules.floor == Floor::Leaf {
        let absent = folded.iter().take_while(|version| version.kind == OpKind::DELETE).count();
        folded.drain(..absent);
    }
    folded.reverse();
    Folded::Merged(folded)
}

/// What the key is before a stage, as far as it is known where the fold happens.
enum Base<'a> {
    Unknown,
    Absent,
    Value(Cow<'a, [u8]>),
}

/// What stays of a stage, oldest first, and what the key is behind it.
fn fold_stage<'a>(
    key: &[u8],
    stage: &Stage<'a>,
    before: Base<'a>,
    rules: Rules<'_>,
) -> (Vec<Owned<'a>>, Base<'a>) {
    let base = match stage.base.as_ref().map(|base| base.version.op) {
        Some(Op::Put(value)) => Base::Value(Cow::Borrowed(value)),
        Some(Op::Delete | Op::Merge(_)) => Base::Absent,
        None => before,
    };
    let below = stage.base.filter(|base| base.of == Of::Key || rules.floor == Floor::Leaf);
    let below = below.map(|base| Owned::new(base.version));
    let Some(newest) = stage.operands.first().map(|newest| newest.msn) else {
        return (below.into_iter().collect(), base);
    };
    let oldest_first = stage.operands.iter().rev();
    let payloads = oldest_first.clone().map(|version| version.op.payload());
    if let Some(value) = merged(key, &base, payloads, rules.operator) {
        let made = Owned::made(newest, OpKind::PUT, value.clone());
        return (vec![made], Base::Value(Cow::Owned(value)));
    }
    let mut kept: Vec<Owned<'a>> = below.into_iter().collect();
    match rules.operator {
        Some(operator) => {
            let operands = oldest_first.map(|version| (version.msn, version.op.payload()));
            let combined = operator.combine_all(key, operands).into_iter();
            kept.extend(combined.map(|(msn, payload)| Owned { msn, kind: OpKind::MERGE, payload }));
        }
        None => kept.extend(oldest_first.copied().map(Owned::new)),
    }
    (kept, Base::Unknown)
}

/// The value behind a stage; `None` where it cannot be told, for whatever reason.
fn merged<'o>(
    key: &[u8],
    base: &Base<'_>,
    oldest_first: impl Iterator<Item = &'o [u8]>,
    operator: Option<&Operator>,
) -> Option<Vec<u8>> {
    let base = match base {
        Base::Unknown => return None,
        Base::Absent => None,
        Base::Value(value) => Some(&value[..]),
    };
    operator?.apply_all(key, base, oldest_first).ok()
}

/// What one reader sees of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// Nothing.
    Absent,
    /// A value as it was put.
    Value(&'a [u8]),
    /// A value that operands were merged into.
    Merged(Vec<u8>),
}

/// What a reader sees of `key`; `versions` and `covers` newest first, as in [`fold`].
///
/// # Errors
/// When operands are met and the operator fails, or `operator` is `None`.
pub fn see<'a>(
    key: &[u8],
    versions: impl Iterator<Item = Version<'a>>,
    covers: &[u64],
    sight: Sight,
    operator: Option<&Operator>,
) -> Result<Seen<'a>, MergeError> {
    let mut operands = Vec::new();
    let mut base = None;
    for said in interleave(versions, covers) {
        if !sight.sees(said.version.msn) {
            continue;
        }
        match said.version.op {
            Op::Merge(operand) => operands.push(operand),
            Op::Put(value) if operands.is_empty() => return Ok(Seen::Value(value)),
            Op::Delete if operands.is_empty() => return Ok(Seen::Absent),
            Op::Put(value) => {
                base = Some(value);
                break;
            }
            Op::Delete => break,
        }
    }
    if operands.is_empty() {
        return Ok(Seen::Absent);
    }
    let merged = declared(operator)?.apply_all(key, base, operands.into_iter().rev())?;
    Ok(Seen::Merged(merged))
}

/// The operator, or the error that says that there is none.
pub fn declared(operator: Option<&Operator>) -> Result<&Operator, MergeError> {
    operator.ok_or_else(|| {
        MergeError::new("the tree's merge operator is not declared; open the tree with it")
    })
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may fail so")]
mod tests {
    use super::*;

    fn put(msn: u64) -> Version<'static> {
        Version { msn, op: Op::Put(b"v") }
    }

    fn delete(msn: u64) -> Version<'static> {
        Version { msn, op: Op::Delete }
    }

    fn left(
        versions: &[Version<'static>],
        visible: u64,
        readers: &[u64],
        floor: Floor,
    ) -> Vec<u64> {
        let horizon =
            Horizon::new(Msn::from_raw(visible), readers.iter().map(|msn| Msn::from_raw(*msn)));
        let rules = Rules { horizon: &horizon, floor, operator: None };
        let folded = fold(b"k", versions.iter().copied(), &[], rules);
        folded.versions().iter().map(|version| version.msn).collect()
    }

    #[test]
    fn only_the_newest_visible_version_stays_without_readers() {
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[], Floor::Buffer), [9]);
    }

    #[test]
    fn a_version_stays_for_each_reader_between() {
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[6], Floor::Buffer), [9, 5]);
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[5, 2], Floor::Buffer), [9, 5, 2]);
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[1], Floor::Buffer), [9]);
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[9], Floor::Buffer), [9]);
    }

    #[test]
    fn what_is_not_visible_yet_hides_nothing() {
        assert_eq!(left(&[put(9), put(5), put(2)], 6, &[], Floor::Buffer), [9, 5]);
    }

    #[test]
    fn a_delete_stays_in_a_buffer_and_goes_in_a_leaf() {
        assert_eq!(left(&[delete(9), put(5)], 10, &[], Floor::Buffer), [9]);
        assert!(left(&[delete(9), put(5)], 10, &[], Floor::Leaf).is_empty());
        assert_eq!(left(&[delete(9), put(5)], 10, &[7], Floor::Leaf), [9, 5]);
        assert_eq!(left(&[put(9), delete(5)], 10, &[7], Floor::Leaf), [9]);
        assert!(left(&[delete(9), delete(5)], 10, &[7], Floor::Leaf).is_empty());
    }

    /// Every reader sees the same before and after, whatever the versions and readers are.
    #[test]
    fn no_reader_can_tell_that_versions_were_folded() {
        let seen = |versions: &[Version<'_>], at: u64| {
            let found = versions.iter().find(|version| version.msn <= at);
            found.filter(|version| version.op != Op::Delete).map(|version| version.msn)
        };
        for shape in 0u32..1 << 10 {
            let versions: Vec<_> = (1..=5u64)
                .rev()
                .filter(|msn| shape >> msn & 1 == 1)
                .map(|msn| if shape >> (msn + 4) & 1 == 1 { delete(msn) } else { put(msn) })
                .collect();
            for readers in 0u64..1 << 6 {
                let registered: Vec<u64> = (0..6).filter(|msn| readers >> msn & 1 == 1).collect();
                let horizon =
                    Horizon::new(Msn::from_raw(5), registered.iter().map(|m| Msn::from_raw(*m)));
                let rules = Rules { horizon: &horizon, floor: Floor::Leaf, operator: None };
                let folded = fold(b"k", versions.iter().copied(), &[], rules);
                let kept = folded.versions();
                for at in registered.into_iter().chain([5, 6]) {
                    assert_eq!(seen(&versions, at), seen(&kept, at));
                }
            }
        }
    }

    /// Adds decimal digits; refuses anything else, and panics at the word.
    struct Add;

    impl crate::MergeOperator for Add {
        fn name(&self) -> &str {
            "add"
        }

        fn apply(
            &self,
            _: &[u8],
            base: Option<&[u8]>,
            operand: &[u8],
        ) -> Result<Vec<u8>, MergeError> {
            assert_ne!(operand, b"panic");
            let number = |bytes: &[u8]| {
                let text = std::str::from_utf8(bytes).ok();
                text.and_then(|text| text.parse::<u64>().ok()).ok_or("not a number")
            };
            let sum = base.map_or(Ok(0), number)? + number(operand)?;
            Ok(sum.to_string().into_bytes())
        }

        fn combine(&self, key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
            self.apply(key, Some(older), newer).ok()
        }
    }

    fn merge(msn: u64, operand: &'static str) -> Version<'static> {
        Version { msn, op: Op::Merge(operand.as_bytes()) }
    }

    fn five(msn: u64) -> Version<'static> {
        Version { msn, op: Op::Put(b"5") }
    }

    /// What is left, as text: op, payload, MSN.
    fn merged(
        versions: &[Version<'static>],
        covers: &[u64],
        readers: &[u64],
        floor: Floor,
        operator: Option<&Operator>,
    ) -> Vec<String> {
        let readers = readers.iter().map(|msn| Msn::from_raw(*msn));
        let horizon = Horizon::new(Msn::from_raw(20), readers);
        let folded = fold(
            b"k",
            versions.iter().copied(),
            covers,
            Rules { horizon: &horizon, floor, operator },
        );
        let text = |version: &Version<'_>| {
            let sign = ["?", "=", "x", "?", "+"][usize::from(version.op.kind())];
            format!("{sign}{}@{}", version.op.payload().escape_ascii(), version.msn)
        };
        folded.versions().iter().map(text).collect()
    }

    #[test]
    fn operands_become_one_and_with_a_value_below_them_a_value() {
        let add = Operator::new(Add);
        let add = Some(&add);
        let two = [merge(9, "2"), merge(8, "1")];
        assert_eq!(merged(&two, &[], &[], Floor::Buffer, add), ["+3@9"]);
        assert_eq!(merged(&two, &[], &[], Floor::Leaf, add), ["=3@9"]);
        let based = [merge(9, "2"), merge(8, "1"), five(4), merge(2, "7")];
        for floor in [Floor::Buffer, Floor::Leaf] {
            assert_eq!(merged(&based, &[], &[], floor, add), ["=8@9"]);
            assert_eq!(merged(&based, &[], &[5], floor, add), ["=8@9", "=5@4"]);
        }
        let apart = [merge(9, "2"), merge(8, "1"), merge(2, "7")];
        assert_eq!(merged(&apart, &[], &[5], Floor::Buffer, add), ["+3@9", "+7@2"]);
        assert_eq!(merged(&apart, &[], &[5], Floor::Leaf, add), ["=10@9", "=7@2"]);
        let gone = [merge(9, "2"), delete(8), five(4)];
        assert_eq!(merged(&gone, &[], &[], Floor::Leaf, add), ["=2@9"]);
        assert_eq!(merged(&gone, &[], &[5], Floor::Leaf, add), ["=2@9", "=5@4"]);
    }

    #[test]
    fn operands_wait_where_the_operator_is_missing_or_fails() {
        let add = Operator::new(Add);
        let based = [merge(9, "2"), merge(8, "1"), five(4), five(3)];
        for floor in [Floor::Buffer, Floor::Leaf] {
            assert_eq!(merged(&based, &[], &[], floor, None), ["+2@9", "+1@8", "=5@4"]);
        }
        for word in ["x", "panic"] {
            let broken = [merge(9, "2"), merge(8, word), five(4), five(3)];
            let kept = merged(&broken, &[], &[], Floor::Leaf, Some(&add));
            assert_eq!(kept, ["+2@9".to_owned(), format!("+{word}@8"), "=5@4".to_owned()]);
        }
    }

    #[test]
    fn a_range_delete_hides_what_is_older_and_is_not_written_for_the_key() {
        let add = Operator::new(Add);
        let add = Some(&add);
        let around = [five(9), five(4)];
        assert_eq!(merged(&around, &[6], &[], Floor::Buffer, None), ["=5@9"]);
        assert_eq!(merged(&around, &[6], &[7], Floor::Buffer, None), ["=5@9"]);
        assert_eq!(merged(&around, &[6], &[5, 7], Floor::Buffer, None), ["=5@9", "=5@4"]);
        assert_eq!(merged(&around, &[6], &[5, 7], Floor::Leaf, None), ["=5@9", "x@6", "=5@4"]);
        assert!(merged(&[five(4)], &[6], &[], Floor::Buffer, None).is_empty());
        assert!(merged(&[five(4)], &[6], &[], Floor::Leaf, None).is_empty());
        let counted = [merge(9, "2"), five(4)];
        assert_eq!(merged(&counted, &[6], &[], Floor::Buffer, add), ["=2@9"]);
        assert_eq!(merged(&counted, &[6], &[], Floor::Buffer, None), ["+2@9"]);
        assert_eq!(merged(&counted, &[6], &[], Floor::Leaf, None), ["+2@9"]);
    }

    /// Whatever was said, and wherever readers are: with range deletes and operands too, every
    /// reader sees the same before and after, and again after a second fold further down.
    #[test]
    fn no_reader_can_tell_that_operands_were_merged() {
        let add = Operator::new(Add);
        let said = |code: u32, msn: u64| match code {
            0 => Some(merge(msn, "1")),
            1 => Some(five(msn)),
            2 => Some(delete(msn)),
            _ => None,
        };
        for shape in 0u32..5u32.pow(4) {
            let code = |place: u32| shape / 5u32.pow(place) % 5;
            let versions: Vec<_> =
                (0..4).rev().filter_map(|place| said(code(place), u64::from(place) + 1)).collect();
            let covers: Vec<u64> = (0..4)
                .rev()
                .filter(|place| code(*place) == 3)
                .map(|place| place + 1)
                .map(u64::from)
                .collect();
            for readers in 0u64..1 << 5 {
                let registered: Vec<Msn> =
                    (0..5).filter(|msn| readers >> msn & 1 == 1).map(Msn::from_raw).collect();
                let horizon = Horizon::new(Msn::from_raw(4), registered.iter().copied());
                for (floor, operator) in [
                    (Floor::Buffer, Some(&add)),
                    (Floor::Buffer, None),
                    (Floor::Leaf, Some(&add)),
                    (Floor::Leaf, None),
                ] {
                    let rules = Rules { horizon: &horizon, floor, operator };
                    let folded = fold(b"k", versions.iter().copied(), &covers, rules);
                    // A leaf keeps no range delete; a buffer keeps them beside the rows.
                    let beside: &[u64] = if floor == Floor::Leaf { &[] } else { &covers };
                    for at in registered.iter().copied().chain([Msn::from_raw(4), Msn::from_raw(9)])
                    {
                        let before =
                            see(b"k", versions.iter().copied(), &covers, Sight::at(at), Some(&add));
                        let kept = folded.versions();
                        let after =
                            see(b"k", kept.iter().copied(), beside, Sight::at(at), Some(&add));
                        let value = |seen: Result<Seen<'_>, MergeError>| match seen.unwrap() {
                            Seen::Absent => None,
                            Seen::Value(value) => Some(value.to_vec()),
                            Seen::Merged(value) => Some(value),
                        };
                        assert_eq!(value(before), value(after), "{versions:?} {covers:?} at {at}");
                    }
                }
            }
        }
    }
}
