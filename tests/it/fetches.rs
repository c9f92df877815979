//! Reads from disk, with the tree changed between the reading and the understanding.

use crate::gate::{ROWS, cold, key};

/// Somebody fetches the same nodes meanwhile, and merges what lies below them: the image that the
/// slow reader holds refers to children that are no longer there.
#[test]
fn a_slow_reader_does_not_take_a_changed_node_for_damage() {
    for row in [0, ROWS / 2, ROWS - 1] {
        let mut reads = 0;
        loop {
            let (db, tree, gate) = cold();
            let (other_db, other_tree) = (db.clone(), tree.clone());
            gate.set(reads, move || {
                let others = (0..ROWS).filter(|other| *other != row);
                others.for_each(|other| other_tree.remove(key(other)).unwrap());
                other_db.daemon().drain().unwrap();
                other_db.checkpoint().unwrap();
            });
            let found = tree.get(key(row)).unwrap();
            let was_there = gate.lift();
            assert_eq!(found.as_deref(), Some(&[b'.'; 400][..]), "at read {reads}");
            db.verify().unwrap();
            if was_there {
                break;
            }
            reads += 1;
        }
        assert!(reads > 2, "the row was in memory");
    }
}
