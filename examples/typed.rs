//! Trees with types: keys that are tuples, and values that are JSON by a codec of one's own.
//!
//! `cargo run --example typed`. It measures some trees over some years, asks a few questions, and
//! checks the answers.

use std::marker::PhantomData;

use sapwood::typed::{CodecError, ValueCodec};
use sapwood::{Config, Durability, Result, TypedTree};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Values as JSON, by serde: readable in the untyped tree, and forgiving when fields are added.
struct Json<T>(PhantomData<T>);

impl<T: Serialize + DeserializeOwned> ValueCodec for Json<T> {
    type Value = T;

    fn encode(value: &T, out: &mut Vec<u8>) -> std::result::Result<(), CodecError> {
        serde_json::to_writer(out, value).map_err(CodecError::new)
    }

    fn decode(bytes: &[u8]) -> std::result::Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(CodecError::new)
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Ring {
    width_um: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// The rings of all trees, by the tree's name and the year.
type Rings = TypedTree<(String, i16), Json<Ring>>;
/// The same by width, for those who look for the narrowest and the widest ones.
type Widths = TypedTree<(u32, String, i16), ()>;

/// Stores and reads typed rows.
pub fn main() -> Result<()> {
    let db = Config::in_memory().open()?;
    let rings: Rings = db.tree("rings")?.typed();
    let widths: Widths = db.tree("widths")?.typed();

    for (tree, first_year) in [("oak", -3i16), ("yew", -1), ("elm", 0)] {
        for (year, width_um) in (first_year..).zip([900, 1400, 350, 1250]) {
            let note = (width_um < 500).then(|| "drought".to_owned());
            // Both rows in one step, so that the trees never disagree.
            let mut batch = db.batch();
            let width_um = width_um + u32::from(year.unsigned_abs());
            rings.insert_in(&mut batch, &(tree.to_owned(), year), &Ring { width_um, note })?;
            widths.insert_in(&mut batch, &(width_um, tree.to_owned(), year), &())?;
            batch.commit(Durability::Buffered)?;
        }
    }

    println!("the oak, year after year:");
    let mut years = Vec::new();
    for row in rings.prefix(&("oak".to_owned(),)) {
        let ((_, year), ring) = row?;
        println!("  {year:>3}: {} um {}", ring.width_um, ring.note.unwrap_or_default());
        years.push(year);
    }
    assert_eq!(years, [-3, -2, -1, 0], "years before the first one come first");

    let narrow = widths.range(..(500, String::new(), 0)).map(|row| Ok(row?.0));
    let narrow = narrow.collect::<Result<Vec<_>>>()?;
    println!("narrower than half a millimetre: {narrow:?}");
    let expected = [(351, "oak", -1), (351, "yew", 1), (352, "elm", 2)];
    let expected = expected.map(|(width, tree, year)| (width, tree.to_owned(), year));
    assert_eq!(narrow, expected);

    let key = ("yew".to_owned(), 1);
    let checked = rings.update(&key, |ring| {
        ring.map(|ring| Ring { note: Some("drought, checked".to_owned()), ..ring })
    })?;
    let bytes = rings.untyped().get(rings.encode_key(&key))?.unwrap_or_default();
    println!("in the untyped tree: {}", bytes.escape_ascii());
    assert_eq!(bytes, r#"{"width_um":351,"note":"drought, checked"}"#);
    assert_eq!(
        rings.decode_value(&rings.encode_key(&key), &bytes)?,
        checked.expect("the yew has this ring")
    );

    rings.untyped().insert(rings.encode_key(&key), "no JSON")?;
    let error = rings.get(&key).expect_err("these bytes are no JSON");
    println!("what cannot be read: {error}");
    assert!(error.is_decode());
    db.close()
}
