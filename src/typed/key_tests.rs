//! The invariants of key codecs, on keys that are often alike, and the bytes that they promise.

use std::cmp::Ordering;
use std::fmt::Debug;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{AsKey, KeyCodec, KeyPrefix, KeyReader};

/// Bytes among which the ones that mean something in escapes are frequent.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0), 2 => Just(1), 2 => Just(0xff), 1 => Just(0xfe), 1 => any::<u8>()]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(byte(), 0..5)
}

fn text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        3 => Just('\0'),
        2 => Just('\u{1}'),
        1 => Just('a'),
        1 => Just('\u{ff}'),
        1 => Just('\u{10ffff}'),
        1 => any::<char>(),
    ];
    vec(letter, 0..5).prop_map(String::from_iter)
}

fn parted(key: &impl KeyCodec) -> Vec<u8> {
    let mut out = Vec::new();
    key.encode_part(&mut out);
    out
}

/// Everything that is promised of two keys which are ordered like this.
fn agree<K: KeyCodec + Debug>(left: &K, right: &K, order: Ordering, tails: &[Vec<u8>; 2]) {
    assert_eq!(left.to_key().cmp(&right.to_key()), order, "{left:?} {right:?}");
    let tailed = |key: &K, tail: &Vec<u8>| [&parted(key)[..], tail].concat();
    let tail_order = tails[0].cmp(&tails[1]);
    let (left_tailed, right_tailed) = (tailed(left, &tails[0]), tailed(right, &tails[1]));
    assert_eq!(left_tailed.cmp(&right_tailed), order.then(tail_order), "{left:?} {right:?}");
    for key in [left, right] {
        let back = K::from_key(&key.to_key()).unwrap();
        assert_eq!(back.to_key(), key.to_key(), "{key:?}");
        let bytes = tailed(key, &tails[0]);
        let mut reader = KeyReader::new(&bytes);
        let back = K::decode_part(&mut reader).unwrap();
        assert_eq!(back.to_key(), key.to_key(), "{key:?}");
        assert_eq!(reader.rest(), tails[0], "{key:?}");
    }
}

fn ordered<K: KeyCodec + Ord + Debug>(left: &K, right: &K, tails: &[Vec<u8>; 2]) {
    agree(left, right, left.cmp(right), tails);
    for key in [left, right] {
        assert_eq!(K::from_key(&key.to_key()).as_ref(), Ok(key));
    }
}

/// Whatever is taken for a key has no other bytes, in either form.
fn is_total<K: KeyCodec>(bytes: &[u8]) {
    if let Ok(key) = K::from_key(bytes) {
        assert_eq!(key.to_key(), bytes);
    }
    let mut reader = KeyReader::new(bytes);
    if let Ok(key) = K::decode_part(&mut reader) {
        assert_eq!([&parted(&key)[..], reader.rest()].concat(), bytes);
    }
}

fn tails() -> impl Strategy<Value = [Vec<u8>; 2]> {
    [bytes(), bytes()]
}

/// A test of two keys from one strategy.
macro_rules! order_is_kept {
    ($($name:ident: $strategy:expr;)+) => {
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
            $(
                #[test]
                fn $name(left in $strategy, right in $strategy, tails in tails()) {
                    ordered(&left, &right, &tails);
                }
            )+
        }
    };
}

order_is_kept! {
    u8s_keep_their_order: any::<u8>();
    u16s_keep_their_order: any::<u16>();
    u32s_keep_their_order: any::<u32>();
    u64s_keep_their_order: any::<u64>();
    u128s_keep_their_order: any::<u128>();
    i8s_keep_their_order: any::<i8>();
    i16s_keep_their_order: any::<i16>();
    i32s_keep_their_order: any::<i32>();
    i64s_keep_their_order: any::<i64>();
    i128s_keep_their_order: any::<i128>();
    bools_keep_their_order: any::<bool>();
    chars_keep_their_order: any::<char>();
    units_keep_their_order: Just(());
    arrays_keep_their_order: [byte(), byte(), byte()];
    strings_keep_their_order: text();
    vectors_keep_their_order: bytes();
    boxes_keep_their_order: bytes().prop_map(Vec::into_boxed_slice);
    options_of_strings_keep_their_order: option::of(text());
    options_of_options_keep_their_order: option::of(option::of(bytes()));
    options_of_nothing_keep_their_order: option::of(Just(()));
    pairs_of_strings_keep_their_order: (text(), bytes());
    pairs_of_options_keep_their_order: (option::of(bytes()), option::of(0..3i8));
    triples_keep_their_order: (bytes(), -2..2i64, text());
    fours_keep_their_order: (0..2u8, text(), text(), any::<bool>());
    fives_keep_their_order: (0..2u8, bytes(), 0..2u16, bytes(), bytes());
    sixes_keep_their_order: (0..2u8, bytes(), Just(()), option::of(text()), any::<bool>(), text());
    nests_keep_their_order: ((bytes(), text()), option::of((text(), -1..1i32)), (0..2u8, bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn floats_keep_their_total_order(left in any::<u64>(), right in any::<u64>(), tails in tails()) {
        let (one, other) = (f64::from_bits(left), f64::from_bits(right));
        agree(&one, &other, one.total_cmp(&other), &tails);
        prop_assert_eq!(f64::from_key(&one.to_key()).unwrap().to_bits(), left);
        let (one, other) = (f32::from_bits(left as u32), f32::from_bits(right as u32));
        agree(&one, &other, one.total_cmp(&other), &tails);
        prop_assert_eq!(f32::from_key(&one.to_key()).unwrap().to_bits(), left as u32);
        agree(&(one, 1u8), &(other, 1u8), one.total_cmp(&other), &tails);
    }

    #[test]
    fn any_bytes_are_a_key_or_an_error(bytes in vec(byte(), 0..24)) {
        is_total::<u8>(&bytes);
        is_total::<u128>(&bytes);
        is_total::<i16>(&bytes);
        is_total::<f32>(&bytes);
        is_total::<f64>(&bytes);
        is_total::<bool>(&bytes);
        is_total::<char>(&bytes);
        is_total::<()>(&bytes);
        is_total::<[u8; 5]>(&bytes);
        is_total::<String>(&bytes);
        is_total::<Vec<u8>>(&bytes);
        is_total::<Box<[u8]>>(&bytes);
        is_total::<Option<Option<String>>>(&bytes);
        is_total::<(String, Vec<u8>)>(&bytes);
        is_total::<(Vec<u8>, Option<Vec<u8>>, bool)>(&bytes);
        is_total::<(bool, Vec<u8>, (), Vec<u8>)>(&bytes);
        is_total::<(u8, Box<[u8]>, u8, u8, Vec<u8>)>(&bytes);
        is_total::<((Vec<u8>, bool), Option<(u8, Vec<u8>)>, (), (), (), Vec<u8>)>(&bytes);
    }

    /// A prefix takes in the keys that begin with these parts, and no others.
    #[test]
    fn prefixes_are_exact(key in (bytes(), text(), bytes()), first in bytes(), second in text()) {
        let has = |prefix: &dyn KeyPrefix<(Vec<u8>, String, Vec<u8>)>| {
            let mut bytes = Vec::new();
            prefix.encode_prefix(&mut bytes);
            key.to_key().starts_with(&bytes)
        };
        prop_assert_eq!(has(&(first.clone(),)), key.0 == first);
        prop_assert_eq!(has(&(first.clone(), second.clone())), (&key.0, &key.1) == (&first, &second));
        prop_assert!(has(&(key.0.clone(), key.1.clone())));
        let mut bytes = Vec::new();
        KeyPrefix::<String>::encode_prefix(&second, &mut bytes);
        prop_assert_eq!(key.1.to_key().starts_with(&bytes), key.1.starts_with(&second));
    }
}

#[test]
fn notable_floats_are_in_order() {
    let floats = [-f64::NAN, f64::NEG_INFINITY, -1.0, -f64::MIN_POSITIVE, -0.0, 0.0, 5e-324, 1.0];
    let keys: Vec<_> = floats.iter().chain(&[f64::INFINITY, f64::NAN]).map(f64::to_key).collect();
    assert!(keys.is_sorted_by(|low, high| low < high), "{keys:?}");
}

/// These bytes are on people's disks.
#[test]
fn bytes_are_as_documented() {
    assert_eq!(0x0102u16.to_key(), [1, 2]);
    assert_eq!((-1i16).to_key(), [0x7f, 0xff]);
    assert_eq!(0i32.to_key(), [0x80, 0, 0, 0]);
    assert_eq!(1.0f32.to_key(), [0xbf, 0x80, 0, 0]);
    assert_eq!((-1.0f32).to_key(), [0x40, 0x7f, 0xff, 0xff]);
    assert_eq!(true.to_key(), [1]);
    assert_eq!('a'.to_key(), [0, 0, 0, b'a']);
    assert_eq!(().to_key(), b"");
    assert_eq!([7u8, 0].to_key(), [7, 0]);
    assert_eq!("a\0b".to_owned().to_key(), b"a\0b");
    assert_eq!(parted(&"a\0b".to_owned()), b"a\0\xffb\0\x01");
    assert_eq!(None::<u8>.to_key(), [0]);
    assert_eq!(Some("a\0".to_owned()).to_key(), b"\x01a\0");
    assert_eq!((7u16, "oak".to_owned(), true).to_key(), b"\0\x07oak\0\x01\x01");
    assert_eq!(("a\0".to_owned(), "b\0".to_owned()).to_key(), b"a\0\xff\0\x01b\0");
    let nested = (("a".to_owned(), "b".to_owned()), Some("c".to_owned()));
    assert_eq!(nested.to_key(), b"a\0\x01b\0\x01\x01c");
}

#[test]
fn what_is_borrowed_has_the_bytes_of_what_is_owned() {
    fn bytes<K>(key: &(impl AsKey<K> + ?Sized)) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode_as_key(&mut out);
        out
    }
    assert_eq!(bytes::<String>("a\0"), bytes::<String>(&"a\0".to_owned()));
    assert_eq!(bytes::<String>(&"a\0"), b"a\0");
    assert_eq!(bytes::<Vec<u8>>(&b"a\0"[..]), bytes::<Vec<u8>>(&b"a\0".to_vec()));
    assert_eq!(bytes::<Box<[u8]>>(&&b"a\0"[..]), b"a\0");
}

#[test]
fn what_cannot_be_decoded_is_told() {
    fn told<K: KeyCodec + Debug>(bytes: &[u8]) -> String {
        K::from_key(bytes).unwrap_err().to_string()
    }
    assert_eq!(told::<u32>(b"oak"), "4 bytes are needed where 3 are left");
    assert_eq!(told::<u16>(b"oak"), "1 bytes are left over at its end");
    assert_eq!(told::<bool>(b"\x02"), "0x02 is neither 0 nor 1");
    assert_eq!(told::<char>(b"\0\0\xd8\0"), "0xd800 is no character");
    assert_eq!(told::<Option<u8>>(b"\x02"), "0x02 is neither 0 (none) nor 1 (some)");
    assert_eq!(told::<String>(b"\xff"), "invalid utf-8 sequence of 1 bytes from index 0");
    assert_eq!(told::<(String, u8)>(b"oak"), "a byte string inside it does not end");
    assert_eq!(told::<(String, u8)>(b"oak\0"), "2 bytes are needed where 1 are left");
    assert_eq!(told::<(String, u8)>(b"oak\0\0\x01"), "a zero byte inside it is followed by 0x00");
}
