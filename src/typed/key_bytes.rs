//! Keys of any length: strings and byte strings.
//!
//! As a whole key, or at its end, they are as they are; a typed tree and its untyped one then
//! agree on prefixes. With something behind them they are escaped (see `key_reader`).

use super::codec_error::CodecError;
use super::key_codec::{AsKey, KeyCodec, KeyPrefix};
use super::key_reader::{KeyReader, escape};

impl KeyCodec for Vec<u8> {
    fn encode_part(&self, out: &mut Vec<u8>) {
        escape(self, out);
    }

    fn decode_part(key: &mut KeyReader<'_>) -> Result<Vec<u8>, CodecError> {
        key.escaped()
    }

    fn encode_last(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode_last(key: &mut KeyReader<'_>) -> Result<Vec<u8>, CodecError> {
        Ok(key.rest().to_vec())
    }
}

impl KeyCodec for Box<[u8]> {
    fn encode_part(&self, out: &mut Vec<u8>) {
        escape(self, out);
    }

    fn decode_part(key: &mut KeyReader<'_>) -> Result<Box<[u8]>, CodecError> {
        Vec::decode_part(key).map(Vec::into_boxed_slice)
    }

    fn encode_last(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode_last(key: &mut KeyReader<'_>) -> Result<Box<[u8]>, CodecError> {
        Ok(key.rest().into())
    }
}

impl KeyCodec for String {
    fn encode_part(&self, out: &mut Vec<u8>) {
        escape(self.as_bytes(), out);
    }

    fn decode_part(key: &mut KeyReader<'_>) -> Result<String, CodecError> {
        utf8(key.escaped()?)
    }

    fn encode_last(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode_last(key: &mut KeyReader<'_>) -> Result<String, CodecError> {
        utf8(key.rest().to_vec())
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String, CodecError> {
    String::from_utf8(bytes).map_err(CodecError::new)
}

/// What is borrowed of a string is looked up like it, and begins keys that are strings.
macro_rules! borrowed_key {
    ($($borrowed:ty => $key:ty),+ $(,)?) => {$(
        impl AsKey<$key> for $borrowed {
            fn encode_as_key(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_ref());
            }
        }
    )+};
}

borrowed_key!(
    str => String,
    &str => String,
    [u8] => Vec<u8>,
    &[u8] => Vec<u8>,
    [u8] => Box<[u8]>,
    &[u8] => Box<[u8]>,
);

/// What strings of bytes begin with: any bytes, also those of a string.
macro_rules! string_prefix {
    ($($key:ty => $prefix:ty),+ $(,)?) => {$(
        impl<P: AsRef<$prefix> + ?Sized> KeyPrefix<$key> for P {
            fn encode_prefix(&self, out: &mut Vec<u8>) {
                let prefix: &$prefix = self.as_ref();
                out.extend_from_slice(prefix.as_ref());
            }
        }
    )+};
}

string_prefix!(String => str, Vec<u8> => [u8], Box<[u8]> => [u8]);
