//! Walks about in a tree with cursors, and changes rows on the way: `cargo run --example cursors`.

use sapwood::{Config, Near, Overwrite, Result, Seek};

/// Shows what it says, and checks itself.
pub fn main() -> Result<()> {
    let db = Config::in_memory().open()?;
    let trees = db.tree("trees")?;
    for (name, age) in [("ash", "90"), ("beech", "210"), ("elm", "45"), ("oak", "600")] {
        trees.insert(name, age)?;
    }

    // What is returned borrows from the cursor: a long walk copies nothing.
    let mut cursor = trees.cursor();
    let mut longest = 0;
    while let Some((_name, age)) = cursor.next()? {
        longest = longest.max(age.len());
    }
    assert_eq!(longest, 3);

    // It can turn round anywhere, also behind the last row.
    assert_eq!(cursor.prev_key()?, Some(&b"oak"[..]));
    assert_eq!(cursor.prev()?, Some((&b"elm"[..], &b"45"[..])));

    // The nearest rows to a key that is not there.
    assert!(!cursor.seek("birch", Seek::Exact)?);
    assert_eq!(cursor.prev_key()?, Some(&b"beech"[..]));
    assert_eq!(cursor.next_key()?, Some(&b"elm"[..]));
    assert!(cursor.seek("birch", Seek::AtOrBefore)?);
    assert_eq!(cursor.key(), Some(&b"beech"[..]));
    assert_eq!(cursor.search_near("willow")?, Near::Before);
    assert_eq!(cursor.key(), Some(&b"oak"[..]));

    // In a transaction a cursor changes what it stands at, and sees that at once.
    let mut tx = db.begin()?;
    let mut walk = tx.cursor_mut(&trees);
    while let Some((_name, age)) = walk.next()? {
        match age.len() {
            2 => walk.remove()?,
            _ => walk.update("old")?,
        }
    }
    walk.insert("yew", "1000", Overwrite::Refused)?;
    assert_eq!(walk.prev()?, Some((&b"oak"[..], &b"old"[..])));
    let refused = walk.insert("oak", "1", Overwrite::Refused);
    assert!(refused.is_err_and(|error| error.is_already_exists()));
    tx.commit()?;

    // The first cursor sees the tree as it was when it was made; another one what is there now.
    assert_eq!(cursor.first()?, Some((&b"ash"[..], &b"90"[..])));
    let names: Vec<_> = trees.keys().collect::<Result<_>>()?;
    assert_eq!(names, ["beech", "oak", "yew"]);
    println!("four trees, walked about in both directions; three are left");
    db.close()
}
