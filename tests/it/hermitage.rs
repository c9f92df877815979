//! The anomalies that the Hermitage project tries on databases, by their names there, at both
//! levels of isolation: snapshot isolation lets `G2-item` and `G2` happen and nothing else,
//! serializable lets nothing happen.
//!
//! Each history is played three times: with everything in memory; with every step moved into the
//! leaves before the next one, among so many other rows that the tree has internal nodes; and
//! with a compaction besides, which forgets every version that nobody is known to need. There are
//! no locks here: where Hermitage sees a transaction wait, it goes on, and the later commit fails.

use sapwood::{Background, Config, Database, Isolation, Result, Slice, Transaction, Tree};

/// The rows that each history begins with.
const FIRST: [(&str, u64); 2] = [("1", 10), ("2", 20)];

/// Where versions lie while others are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    InMemory,
    InLeaves,
    Compacted,
}

struct Stage {
    db: Database,
    tree: Tree,
    isolation: Isolation,
    between: Between,
}

impl Stage {
    fn new(isolation: Isolation, between: Between) -> Stage {
        let config = Config::in_memory().background(Background::Manual).tiny();
        let db = config.cache_bytes(1 << 20).open().unwrap();
        let tree = db.tree("test").unwrap();
        let stage = Stage { db, tree, isolation, between };
        if between != Between::InMemory {
            // Their numbers are odd and large, so that no predicate below holds for them.
            for place in ["0", "1-", "2-", "5"] {
                for row in 0..40 {
                    let filler = [&1001u64.to_le_bytes()[..], &[b'.'; 40]].concat();
                    stage.tree.insert(format!("{place}{row:03}"), filler).unwrap();
                }
            }
        }
        for (key, value) in FIRST {
            stage.tree.insert(key, value.to_le_bytes()).unwrap();
        }
        stage.settle();
        stage
    }

    fn settle(&self) {
        if self.between == Between::InMemory {
            return;
        }
        self.db.checkpoint().unwrap();
        self.db.daemon().drain().unwrap();
        if self.between == Between::Compacted {
            self.tree.compact::<&str>(..).unwrap();
        }
    }

    fn begin(&self) -> Actor<'_> {
        Actor { tx: self.db.begin_with(self.isolation).unwrap(), stage: self }
    }

    /// Whether what serializability alone forbids goes through.
    fn is_lenient(&self) -> bool {
        self.isolation == Isolation::Snapshot
    }

    fn assert_rows(&self, expected: &[(&str, u64)]) {
        let actor = self.begin();
        assert_eq!(actor.find(|value| value != 1001), owned(expected));
        assert!(actor.commit(), "a reader always commits");
        self.db.verify().unwrap();
    }
}

/// A transaction, everything of which is followed by the movement that is tried.
struct Actor<'s> {
    tx: Transaction,
    stage: &'s Stage,
}

impl Actor<'_> {
    fn get(&self, key: &str) -> Option<u64> {
        let found = self.tx.get(&self.stage.tree, key).unwrap();
        self.stage.settle();
        found.as_ref().map(number)
    }

    /// The rows with such values: what Hermitage asks with a predicate.
    fn find(&self, is_asked_for: fn(u64) -> bool) -> Vec<(String, u64)> {
        let rows = self.tx.iter(&self.stage.tree).map(row).collect::<Vec<_>>();
        let mut backward = self.tx.iter(&self.stage.tree).rev().map(row).collect::<Vec<_>>();
        backward.reverse();
        assert_eq!(rows, backward);
        self.stage.settle();
        rows.into_iter().filter(|(_, value)| is_asked_for(*value)).collect()
    }

    fn put(&mut self, key: &str, value: u64) {
        self.tx.insert(&self.stage.tree, key, value.to_le_bytes()).unwrap();
        self.stage.settle();
    }

    fn remove(&mut self, key: &str) {
        self.tx.remove(&self.stage.tree, key).unwrap();
        self.stage.settle();
    }

    /// Whether it did not lose.
    #[must_use]
    fn commit(self) -> bool {
        let Actor { tx, stage } = self;
        let done = tx.commit();
        stage.settle();
        if let Err(error) = &done {
            assert!(error.is_conflict() && error.is_retryable(), "{error}");
        }
        done.is_ok()
    }

    fn roll_back(self) {
        self.tx.rollback();
        self.stage.settle();
    }
}

fn number(slice: &Slice) -> u64 {
    u64::from_le_bytes(slice[..8].try_into().unwrap())
}

fn row(row: Result<(Slice, Slice)>) -> (String, u64) {
    let (key, value) = row.unwrap();
    (String::from_utf8(key.to_vec()).unwrap(), number(&value))
}

fn owned(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
}

/// Plays a history at both levels, wherever versions can lie.
fn everywhere(history: fn(&Stage)) {
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        for between in [Between::InMemory, Between::InLeaves, Between::Compacted] {
            history(&Stage::new(isolation, between));
        }
    }
}

/// Plays a history at one level, wherever versions can lie.
fn at(isolation: Isolation, history: fn(&Stage)) {
    for between in [Between::InMemory, Between::InLeaves, Between::Compacted] {
        history(&Stage::new(isolation, between));
    }
}

#[test]
fn g0_write_cycles_are_prevented() {
    everywhere(|stage| {
        let (mut one, mut two) = (stage.begin(), stage.begin());
        one.put("1", 11);
        two.put("1", 12);
        one.put("2", 21);
        assert!(one.commit());
        stage.assert_rows(&[("1", 11), ("2", 21)]);
        two.put("2", 22);
        assert!(!two.commit());
        stage.assert_rows(&[("1", 11), ("2", 21)]);
    });
}

#[test]
fn g1a_aborted_reads_are_prevented() {
    everywhere(|stage| {
        let (mut one, two) = (stage.begin(), stage.begin());
        one.put("1", 101);
        assert_eq!(two.find(|value| value != 1001), owned(&FIRST));
        one.roll_back();
        assert_eq!(two.get("1"), Some(10));
        assert!(two.commit());
        stage.assert_rows(&FIRST);
    });
}

/// The same for changes that are taken back by losing, and by going back to a savepoint.
#[test]
fn g1a_what_a_loser_wrote_is_never_read() {
    everywhere(|stage| {
        let mut one = stage.begin();
        let before = one.tx.savepoint();
        one.put("2", 201);
        one.tx.rollback_to(&before).unwrap();
        one.put("1", 101);
        let mut two = stage.begin();
        two.put("1", 12);
        assert!(two.commit());
        assert!(!one.commit());
        stage.assert_rows(&[("1", 12), ("2", 20)]);
    });
}

#[test]
fn g1b_intermediate_reads_are_prevented() {
    everywhere(|stage| {
        let (mut one, two) = (stage.begin(), stage.begin());
        one.put("1", 101);
        assert_eq!(two.get("1"), Some(10));
        one.put("1", 11);
        assert!(one.commit());
        assert_eq!(two.get("1"), Some(10));
        assert!(two.commit());
        stage.assert_rows(&[("1", 11), ("2", 20)]);
    });
}

#[test]
fn g1c_circular_information_flow_is_prevented() {
    everywhere(|stage| {
        let (mut one, mut two) = (stage.begin(), stage.begin());
        one.put("1", 11);
        two.put("2", 22);
        assert_eq!(one.get("2"), Some(20));
        assert_eq!(two.get("1"), Some(10));
        assert!(one.commit());
        // Neither has seen the other; that both change what the other reads is G2-item.
        assert_eq!(two.commit(), stage.is_lenient());
    });
}

#[test]
fn otv_an_observed_transaction_does_not_vanish() {
    everywhere(|stage| {
        let (mut one, mut two) = (stage.begin(), stage.begin());
        one.put("1", 11);
        one.put("2", 19);
        two.put("1", 12);
        assert!(one.commit());
        let three = stage.begin();
        assert_eq!(three.get("1"), Some(11));
        two.put("2", 18);
        assert_eq!(three.get("2"), Some(19));
        assert!(!two.commit());
        assert_eq!(three.get("2"), Some(19));
        assert_eq!(three.get("1"), Some(11));
        assert!(three.commit());
    });
}

#[test]
fn pmp_predicate_many_preceders_are_prevented() {
    everywhere(|stage| {
        let (one, mut two) = (stage.begin(), stage.begin());
        assert_eq!(one.find(|value| value == 30), []);
        two.put("3", 30);
        assert!(two.commit());
        assert_eq!(one.find(|value| value % 3 == 0), []);
        assert!(one.commit());
        stage.assert_rows(&[("1", 10), ("2", 20), ("3", 30)]);
    });
}

#[test]
fn pmp_is_prevented_for_predicates_of_writes() {
    everywhere(|stage| {
        let (mut one, mut two) = (stage.begin(), stage.begin());
        for (key, value) in one.find(|value| value != 1001) {
            one.put(&key, value + 10);
        }
        let doomed = two.find(|value| value == 20);
        assert_eq!(doomed, owned(&[("2", 20)]));
        two.remove(&doomed[0].0);
        assert!(one.commit());
        assert!(!two.commit());
        stage.assert_rows(&[("1", 20), ("2", 30)]);
    });
}

#[test]
fn p4_lost_updates_are_prevented() {
    everywhere(|stage| {
        let (mut one, mut two) = (stage.begin(), stage.begin());
        assert_eq!((one.get("1"), two.get("1")), (Some(10), Some(10)));
        one.put("1", 11);
        two.put("1", 11);
        assert!(one.commit());
        assert!(!two.commit());
        stage.assert_rows(&[("1", 11), ("2", 20)]);
    });
}

/// An update is lost as well when the row goes away, alone or in a range.
#[test]
fn p4_updates_of_removed_rows_are_not_lost() {
    everywhere(|stage| {
        let (mut one, mut two, mut three) = (stage.begin(), stage.begin(), stage.begin());
        assert_eq!(one.get("1"), Some(10));
        assert_eq!(two.get("2"), Some(20));
        one.put("1", 11);
        two.put("2", 21);
        three.tx.remove_range(&stage.tree, "1".."1-").unwrap();
        three.remove("2");
        assert!(three.commit());
        assert!(!one.commit());
        assert!(!two.commit());
        stage.assert_rows(&[]);
    });
}

/// One that removes a range loses what others have put there, unless it loses itself.
#[test]
fn p4_updates_within_a_removed_range_are_not_lost() {
    for moved in ["1", "1-", "2", "3"] {
        let history = move |stage: &Stage| {
            let (mut one, mut two) = (stage.begin(), stage.begin());
            one.tx.remove_range(&stage.tree, "1".."3").unwrap();
            two.put(moved, 77);
            assert!(two.commit());
            let stands = one.commit();
            assert_eq!(stands, moved == "3");
            assert_eq!(stage.begin().get(moved), Some(77));
        };
        for isolation in [Isolation::Snapshot, Isolation::Serializable] {
            for between in [Between::InMemory, Between::InLeaves, Between::Compacted] {
                history(&Stage::new(isolation, between));
            }
        }
    }
}

#[test]
fn g_single_read_skew_is_prevented() {
    everywhere(|stage| {
        let (one, mut two) = (stage.begin(), stage.begin());
        assert_eq!(one.get("1"), Some(10));
        assert_eq!((two.get("1"), two.get("2")), (Some(10), Some(20)));
        two.put("1", 12);
        two.put("2", 18);
        assert!(two.commit());
        assert_eq!(one.get("2"), Some(20));
        assert!(one.commit());
        stage.assert_rows(&[("1", 12), ("2", 18)]);
    });
}

#[test]
fn g_single_is_prevented_for_predicates() {
    everywhere(|stage| {
        let (one, mut two) = (stage.begin(), stage.begin());
        assert_eq!(one.find(|value| value % 5 == 0), owned(&FIRST));
        for (key, _) in two.find(|value| value == 10) {
            two.put(&key, 12);
        }
        assert!(two.commit());
        assert_eq!(one.find(|value| value % 3 == 0), []);
        assert!(one.commit());
    });
}

#[test]
fn g_single_is_prevented_for_predicates_of_writes() {
    everywhere(|stage| {
        let (mut one, mut two) = (stage.begin(), stage.begin());
        assert_eq!(one.get("1"), Some(10));
        assert_eq!(two.find(|value| value != 1001), owned(&FIRST));
        two.put("1", 12);
        two.put("2", 18);
        assert!(two.commit());
        let doomed = one.find(|value| value == 20);
        assert_eq!(doomed, owned(&[("2", 20)]));
        one.remove(&doomed[0].0);
        assert!(!one.commit());
        stage.assert_rows(&[("1", 12), ("2", 18)]);
    });
}

/// It has read one state, and could be told to have come first; but what it has read is no longer
/// so when it commits, and that is what serializable asks for.
#[test]
fn g_single_is_prevented_when_the_reader_writes_elsewhere() {
    everywhere(|stage| {
        let (mut one, mut two) = (stage.begin(), stage.begin());
        assert_eq!(one.get("1"), Some(10));
        two.put("1", 12);
        two.put("2", 18);
        assert!(two.commit());
        assert_eq!(one.get("2"), Some(20));
        one.put("3", 30);
        assert_eq!(one.commit(), stage.is_lenient());
    });
}

fn write_skew(stage: &Stage) -> bool {
    let (mut one, mut two) = (stage.begin(), stage.begin());
    assert_eq!((one.get("1"), one.get("2")), (Some(10), Some(20)));
    assert_eq!((two.get("1"), two.get("2")), (Some(10), Some(20)));
    one.put("1", 11);
    two.put("2", 21);
    assert!(one.commit());
    two.commit()
}

#[test]
fn g2_item_write_skew_is_prevented_when_serializable() {
    at(Isolation::Serializable, |stage| {
        assert!(!write_skew(stage));
        stage.assert_rows(&[("1", 11), ("2", 20)]);
    });
}

#[test]
fn g2_item_write_skew_happens_under_snapshot_isolation() {
    at(Isolation::Snapshot, |stage| {
        assert!(write_skew(stage));
        stage.assert_rows(&[("1", 11), ("2", 21)]);
    });
}

#[test]
fn g2_item_is_prevented_by_get_for_update() {
    everywhere(|stage| {
        let (mut one, mut two) = (stage.begin(), stage.begin());
        for actor in [&mut one, &mut two] {
            actor.tx.get_for_update(&stage.tree, "1").unwrap();
            actor.tx.get_for_update(&stage.tree, "2").unwrap();
        }
        one.put("1", 11);
        two.put("2", 21);
        assert!(one.commit());
        assert!(!two.commit());
    });
}

fn predicate_skew(stage: &Stage) -> bool {
    let (mut one, mut two) = (stage.begin(), stage.begin());
    assert_eq!(one.find(|value| value % 3 == 0), []);
    assert_eq!(two.find(|value| value % 3 == 0), []);
    one.put("3", 30);
    two.put("4", 42);
    assert!(one.commit());
    two.commit()
}

#[test]
fn g2_anti_dependency_cycles_are_prevented_when_serializable() {
    at(Isolation::Serializable, |stage| {
        assert!(!predicate_skew(stage));
        stage.assert_rows(&[("1", 10), ("2", 20), ("3", 30)]);
    });
}

#[test]
fn g2_anti_dependency_cycles_happen_under_snapshot_isolation() {
    at(Isolation::Snapshot, |stage| {
        assert!(predicate_skew(stage));
        stage.assert_rows(&[("1", 10), ("2", 20), ("3", 30), ("4", 42)]);
    });
}

/// Fekete's anomaly: two that write, and the cycle goes through one that only reads.
fn skew_through_a_reader(stage: &Stage) -> bool {
    let mut one = stage.begin();
    assert_eq!(one.find(|value| value != 1001), owned(&FIRST));
    let mut two = stage.begin();
    for (key, value) in two.find(|value| value == 20) {
        two.put(&key, value + 5);
    }
    assert!(two.commit());
    let three = stage.begin();
    assert_eq!(three.find(|value| value != 1001), owned(&[("1", 10), ("2", 25)]));
    assert!(three.commit());
    one.put("1", 0);
    one.commit()
}

#[test]
fn g2_through_a_reader_is_prevented_when_serializable() {
    at(Isolation::Serializable, |stage| {
        assert!(!skew_through_a_reader(stage));
        stage.assert_rows(&[("1", 10), ("2", 25)]);
    });
}

#[test]
fn g2_through_a_reader_happens_under_snapshot_isolation() {
    at(Isolation::Snapshot, |stage| {
        assert!(skew_through_a_reader(stage));
        stage.assert_rows(&[("1", 0), ("2", 25)]);
    });
}
