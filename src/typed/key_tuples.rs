//! Keys that are made of others: options and tuples.
//!
//! ```text
//! None < Some(least) < ... < Some(largest)        (a, b) < (a, c) < (b, a)
//!   00   01 ...              01 ...
//! ```

use super::codec_error::CodecError;
use super::key_codec::{KeyCodec, KeyPrefix};
use super::key_reader::KeyReader;

const NONE: u8 = 0;
const SOME: u8 = 1;

impl<K: KeyCodec> KeyCodec for Option<K> {
    fn encode_part(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(NONE),
            Some(key) => {
                out.push(SOME);
                key.encode_part(out);
            }
        }
    }

    fn decode_part(key: &mut KeyReader<'_>) -> Result<Option<K>, CodecError> {
        if is_some(key)? { K::decode_part(key).map(Some) } else { Ok(None) }
    }

    fn encode_last(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(NONE),
            Some(key) => {
                out.push(SOME);
                key.encode_last(out);
            }
        }
    }

    fn decode_last(key: &mut KeyReader<'_>) -> Result<Option<K>, CodecError> {
        if is_some(key)? { K::decode_last(key).map(Some) } else { Ok(None) }
    }
}

fn is_some(key: &mut KeyReader<'_>) -> Result<bool, CodecError> {
    match key.take()? {
        [NONE] => Ok(false),
        [SOME] => Ok(true),
        [other] => {
            Err(CodecError::new(format_args!("{other:#04x} is neither 0 (none) nor 1 (some)")))
        }
    }
}

macro_rules! tuple_key {
    ($($Part:ident $part:ident),+; $Last:ident $last:ident) => {
        impl<$($Part: KeyCodec,)+ $Last: KeyCodec> KeyCodec for ($($Part,)+ $Last) {
            fn encode_part(&self, out: &mut Vec<u8>) {
                let ($($part,)+ $last) = self;
                $($part.encode_part(out);)+
                $last.encode_part(out);
            }

            fn decode_part(key: &mut KeyReader<'_>) -> Result<Self, CodecError> {
                Ok(($($Part::decode_part(key)?,)+ $Last::decode_part(key)?))
            }

            fn encode_last(&self, out: &mut Vec<u8>) {
                let ($($part,)+ $last) = self;
                $($part.encode_part(out);)+
                $last.encode_last(out);
            }

            fn decode_last(key: &mut KeyReader<'_>) -> Result<Self, CodecError> {
                Ok(($($Part::decode_part(key)?,)+ $Last::decode_last(key)?))
            }
        }
    };
}

tuple_key!(A a; B b);
tuple_key!(A a, B b; C c);
tuple_key!(A a, B b, C c; D d);
tuple_key!(A a, B b, C c, D d; E e);
tuple_key!(A a, B b, C c, D d, E e; F f);

macro_rules! tuple_prefix {
    ($($Part:ident $part:ident),+; $($Rest:ident),+) => {
        impl<$($Part: KeyCodec,)+ $($Rest,)+> KeyPrefix<($($Part,)+ $($Rest,)+)> for ($($Part,)+) {
            fn encode_prefix(&self, out: &mut Vec<u8>) {
                let ($($part,)+) = self;
                $($part.encode_part(out);)+
            }
        }
    };
}

tuple_prefix!(A a; B);
tuple_prefix!(A a; B, C);
tuple_prefix!(A a; B, C, D);
tuple_prefix!(A a; B, C, D, E);
tuple_prefix!(A a; B, C, D, E, F);
tuple_prefix!(A a, B b; C);
tuple_prefix!(A a, B b; C, D);
tuple_prefix!(A a, B b; C, D, E);
tuple_prefix!(A a, B b; C, D, E, F);
tuple_prefix!(A a, B b, C c; D);
tuple_prefix!(A a, B b, C c; D, E);
tuple_prefix!(A a, B b, C c; D, E, F);
tuple_prefix!(A a, B b, C c, D d; E);
tuple_prefix!(A a, B b, C c, D d; E, F);
tuple_prefix!(A a, B b, C c, D d, E e; F);
