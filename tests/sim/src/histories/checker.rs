//! Finds what a level of isolation forbids in a recorded history.
//!
//! 1. Each transaction alone: it sees its own changes, and everything else twice alike.
//! 2. Each key alone: the order of its versions, which of them was read, and what nobody should
//!    have read.
//! 3. All together: `Graph`.
//!
//! The order of versions comes from the lists themselves, and for registers from the sequences of
//! the commits. Those who lost are checked as readers, too.

use std::collections::{BTreeMap, BTreeSet};

use sapwood::Isolation;

use super::graph::{Graph, Why};
use super::history::{History, Key, Outcome, Recorded, Sort, Step, Values};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// It did not see its own changes, or saw others' come while it ran.
    Unrepeatable,
    /// Somebody read what was never committed.
    G1a,
    /// Somebody read a part of what was committed together.
    G1b,
    /// What was committed is not there.
    LostWrite,
    /// Two have changed one version of a key, each knowing nothing of the other.
    LostUpdate,
    /// Two that ran side by side have changed one key, or one has read the other.
    Interference,
    /// A value that nobody wrote, or numbers in an order that others have not seen.
    Disorder,
    G0,
    G1c,
    /// A cycle without two adjacent anti-dependencies.
    GSingle,
    G2,
}

/// Anomalies, each with what was found.
pub type Found = BTreeMap<Anomaly, String>;

/// What `level` forbids and `history` has.
pub fn forbidden(history: &History, level: Isolation) -> Found {
    let mut found = Checker::new(history, level).check();
    if level == Isolation::Snapshot {
        found.remove(&Anomaly::G2);
    }
    found
}

/// What a transaction read of others, and left.
#[derive(Default)]
struct Effects {
    reads: BTreeMap<Key, Vec<u32>>,
    /// Lists: what was appended; registers: what was set last, if anything.
    writes: BTreeMap<Key, Vec<u32>>,
    /// Registers: numbers that it replaced itself.
    replaced: Vec<u32>,
}

/// What a key was from one commit to the next.
struct Version {
    /// None has made the first one.
    writer: Option<usize>,
    /// What was there: of a list all, of a register the number.
    numbers: Vec<u32>,
    sequence: u64,
}

struct Checker<'h> {
    history: &'h History,
    level: Isolation,
    effects: Vec<Effects>,
    found: Found,
    graph: Graph,
}

impl<'h> Checker<'h> {
    fn new(history: &'h History, level: Isolation) -> Checker<'h> {
        let graph = Graph::new(history.all.len());
        Checker { history, level, effects: Vec::new(), found: Found::new(), graph }
    }

    fn note(&mut self, anomaly: Anomaly, what: String) {
        self.found.entry(anomaly).or_insert(what);
    }

    fn check(mut self) -> Found {
        for (who, recorded) in self.history.all.iter().enumerate() {
            let effects = self.effects_of(who, recorded);
            self.effects.push(effects);
        }
        let keys = self.effects.iter().flat_map(|one| one.reads.keys().chain(one.writes.keys()));
        for key in keys.copied().collect::<BTreeSet<Key>>() {
            let versions = match self.history.values {
                Values::Lists => self.versions_of_list(key),
                Values::Registers => self.versions_of_register(key),
            };
            self.link_writers(key, &versions);
            self.link_readers(key, &versions);
        }
        self.link_starts();
        self.find_cycles();
        self.found
    }

    /// Takes a transaction's own changes out of what it read.
    fn effects_of(&mut self, who: usize, recorded: &Recorded) -> Effects {
        let mut effects = Effects::default();
        let lists = self.history.values == Values::Lists;
        for step in &recorded.steps {
            match step {
                Step::Append(key, number) => effects.writes.entry(*key).or_default().push(*number),
                Step::Set(key, number) => {
                    let value = Vec::from_iter(*number);
                    effects.replaced.extend(effects.writes.insert(*key, value).unwrap_or_default());
                }
                Step::Read(key, seen) => {
                    let own = effects.writes.get(key);
                    let others = match own {
                        None => Some(&seen[..]),
                        Some(own) if lists => seen.strip_suffix(&own[..]),
                        Some(own) if own == seen => continue,
                        Some(_) => None,
                    };
                    let before = effects.reads.get(key).map(Vec::as_slice);
                    let is_same = others.is_some_and(|now| before.is_none_or(|was| was == now));
                    if let Some(others) = others.filter(|_| is_same) {
                        effects.reads.insert(*key, others.to_vec());
                    } else {
                        let what = format!(
                            "{who} read {seen:?} in key {key}; own {own:?}, before {before:?}"
                        );
                        self.note(Anomaly::Unrepeatable, what);
                    }
                }
            }
        }
        effects
    }

    /// Whoever has changed `key` and committed, in the order of the commits.
    fn writers_of(&self, key: Key) -> Vec<(u64, usize)> {
        let all = self.history.all.iter().zip(&self.effects).enumerate();
        let writers = all.filter(|(_, (_, effects))| effects.writes.contains_key(&key));
        let commits = writers.filter_map(|(who, (recorded, _))| Some((recorded.commit()?, who)));
        let mut commits: Vec<(u64, usize)> = commits.collect();
        commits.sort_unstable();
        commits
    }

    fn versions_of_register(&self, key: Key) -> Vec<Version> {
        let first = Version { writer: None, numbers: Vec::new(), sequence: 0 };
        let later = self.writers_of(key).into_iter().map(|(sequence, who)| {
            let numbers = self.effects[who].writes[&key].clone();
            Version { writer: Some(who), numbers, sequence }
        });
        std::iter::once(first).chain(later).collect()
    }

    /// Cuts the last state of a list where one transaction's numbers end.
    fn versions_of_list(&mut self, key: Key) -> Vec<Version> {
        let last = self.effects.last().and_then(|last| last.reads.get(&key).cloned());
        let last = last.unwrap_or_default();
        let mut versions = vec![Version { writer: None, numbers: Vec::new(), sequence: 0 }];
        let mut seen = BTreeSet::new();
        let writers = self.writers_of(key);
        let mut rest = &last[..];
        while let Some(first) = rest.first() {
            let has = |who: &usize| self.effects[*who].writes[&key].contains(first);
            let Some((sequence, who)) = writers.iter().copied().find(|(_, who)| has(who)) else {
                let anomaly =
                    if self.is_taken_back(key, *first) { Anomaly::G1a } else { Anomaly::Disorder };
                self.note(anomaly, format!("{first} is in key {key}, and was not committed"));
                break;
            };
            let own = &self.effects[who].writes[&key];
            let Some(behind) = rest.strip_prefix(&own[..]) else {
                self.note(Anomaly::Disorder, format!("{own:?} are apart in key {key}: {last:?}"));
                break;
            };
            if !seen.insert(who) {
                self.note(Anomaly::Disorder, format!("{own:?} are twice in key {key}: {last:?}"));
            }
            rest = behind;
            let numbers = last[..last.len() - rest.len()].to_vec();
            versions.push(Version { writer: Some(who), numbers, sequence });
        }
        for (_, who) in writers {
            if !seen.contains(&who) {
                let own = &self.effects[who].writes[&key];
                self.note(Anomaly::LostWrite, format!("{own:?} of {who} are not in key {key}"));
            }
        }
        versions
    }

    /// Whether `number` was written to `key` by somebody who did not commit it.
    fn is_taken_back(&self, key: Key, number: u32) -> bool {
        self.history.all.iter().zip(&self.effects).any(|(recorded, effects)| {
            let wrote = effects.writes.get(&key).is_some_and(|own| own.contains(&number));
            let replaced = effects.replaced.contains(&number);
            let aborted = recorded.outcome == Outcome::Aborted && (wrote || replaced);
            aborted || recorded.undone.contains(&number)
        })
    }

    fn link_writers(&mut self, key: Key, versions: &[Version]) {
        for pair in versions.windows(2) {
            let [older, newer] = pair else { continue };
            let (Some(from), Some(to)) = (older.writer, newer.writer) else { continue };
            let later = &self.history.all[to];
            if older.sequence > newer.sequence {
                let what =
                    format!("{from} changed key {key} before {to}, and has the later sequence");
                self.note(Anomaly::Disorder, what);
            }
            if later.sort == Sort::Transaction && older.sequence > later.begin {
                if is_absent_again(versions, to, later.begin) {
                    // It may not have been noticed, and nobody can tell the difference.
                    if self.level == Isolation::Serializable {
                        self.graph.add(from, to, Why::WriteWrite);
                    }
                    continue;
                }
                let what = format!("{from} and {to} ran side by side and changed key {key}");
                self.note(Anomaly::Interference, what);
            }
            self.graph.add(from, to, Why::WriteWrite);
        }
    }

    fn link_readers(&mut self, key: Key, versions: &[Version]) {
        let mut updaters: BTreeMap<usize, usize> = BTreeMap::new();
        for who in 0..self.effects.len() {
            let Some(seen) = self.effects[who].reads.get(&key).cloned() else { continue };
            let Some(at) = self.version_read(who, key, &seen, versions) else { continue };
            if let Some(from) = versions[at].writer {
                self.graph.add(from, who, Why::WriteRead);
                let is_noticed = !versions[at].numbers.is_empty();
                if is_noticed && versions[at].sequence > self.history.all[who].begin {
                    let what = format!("{who} read key {key} of {from}, committed after it began");
                    self.note(Anomaly::Interference, what);
                }
            }
            let next = versions.get(at + 1).and_then(|next| next.writer);
            let next = next
                .map(|next| if next == who { versions.get(at + 2) } else { versions.get(at + 1) });
            if let Some(to) = next.flatten().and_then(|next| next.writer) {
                self.graph.add(who, to, Why::ReadWrite);
            }
            let has_changed = versions.iter().any(|version| version.writer == Some(who));
            if has_changed
                && !seen.is_empty()
                && let Some(other) = updaters.insert(at, who)
            {
                let what = format!("{other} and {who} both changed key {key} from {seen:?}");
                self.note(Anomaly::LostUpdate, what);
            }
        }
    }

    /// Which version it was that `who` has seen.
    fn version_read(
        &mut self,
        who: usize,
        key: Key,
        seen: &[u32],
        versions: &[Version],
    ) -> Option<usize> {
        if seen.is_empty() {
            let until = self.absence_read_at(who, versions);
            let is_it = |version: &Version| version.numbers.is_empty() && version.sequence <= until;
            return versions.iter().rposition(is_it);
        }
        if let Some(at) = versions.iter().position(|version| version.numbers == seen) {
            return Some(at);
        }
        let committed = |number: &u32| {
            let mut versions = versions.iter();
            let of_key = versions.any(|version| version.numbers.contains(number));
            let replaced = self.history.all.iter().zip(&self.effects).any(|(recorded, effects)| {
                recorded.commit().is_some() && effects.replaced.contains(number)
            });
            of_key || replaced
        };
        let anomaly = if seen.iter().any(|number| self.is_taken_back(key, *number)) {
            Anomaly::G1a
        } else if seen.iter().all(committed) && self.is_in_order(seen, versions) {
            Anomaly::G1b
        } else {
            Anomaly::Disorder
        };
        self.note(anomaly, format!("{who} read {seen:?} in key {key}"));
        None
    }

    /// Whether a list was seen as others have seen it, as far as it goes.
    fn is_in_order(&self, seen: &[u32], versions: &[Version]) -> bool {
        let last = versions.last().map_or(&[][..], |last| &last.numbers);
        self.history.values == Values::Registers || last.starts_with(seen)
    }

    /// The latest moment at which `who` can have seen that a key is absent: one that is absent
    /// again when a serializable transaction commits may as well have been read then.
    fn absence_read_at(&self, who: usize, versions: &[Version]) -> u64 {
        let recorded = &self.history.all[who];
        match recorded.commit() {
            Some(commit) if self.level == Isolation::Serializable => {
                let before = at_sequence(versions, commit - 1);
                let is_absent = |version: &Version| version.numbers.is_empty();
                let both = is_absent(before) && is_absent(at_sequence(versions, recorded.begin));
                if both { commit - 1 } else { recorded.begin }
            }
            _ => recorded.begin,
        }
    }

    fn link_starts(&mut self) {
        for (from, earlier) in self.history.all.iter().enumerate() {
            let Some(commit) = earlier.commit() else { continue };
            for (to, later) in self.history.all.iter().enumerate() {
                if commit <= later.begin {
                    self.graph.add(from, to, Why::Start);
                }
            }
        }
    }

    fn find_cycles(&mut self) {
        use Why::{ReadWrite, Start, WriteRead, WriteWrite};
        let cycles = [
            (Anomaly::G0, self.graph.cycle(&[WriteWrite])),
            (Anomaly::G1c, self.graph.cycle(&[WriteWrite, WriteRead, Start])),
            (Anomaly::GSingle, self.graph.cycle_of_snapshots()),
            (Anomaly::G2, self.graph.cycle(&[WriteWrite, WriteRead, Start, ReadWrite])),
        ];
        // Each is one of the next kind, too.
        let worst = cycles.into_iter().find_map(|(kind, story)| Some((kind, story?)));
        if let Some((kind, story)) = worst {
            self.note(kind, story);
        }
    }
}

/// What was there at a moment.
fn at_sequence(versions: &[Version], sequence: u64) -> &Version {
    let behind = versions.partition_point(|version| version.sequence <= sequence);
    &versions[behind - 1]
}

/// Whether a key was absent when its writer began, and just before it committed.
fn is_absent_again(versions: &[Version], writer: usize, begin: u64) -> bool {
    let at = versions.iter().position(|version| version.writer == Some(writer));
    let before = at.and_then(|at| versions.get(at - 1));
    let is_absent = before.is_some_and(|before| before.numbers.is_empty());
    is_absent && at_sequence(versions, begin).numbers.is_empty()
}
