//! Why a codec refuses something.

use std::fmt;

/// Why a codec could not make bytes of something, or something of bytes: half a sentence.
///
/// The typed tree puts it into an [`Error`](crate::Error) that says which tree and which key.
///
/// ```
/// use sapwood::typed::CodecError;
///
/// let year = "12 AD".parse::<u16>().map_err(CodecError::new);
/// assert_eq!(year.unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError(String);

impl CodecError {
    /// An error with this reason: half a sentence, or whatever another error has to say.
    pub fn new(reason: impl fmt::Display) -> CodecError {
        CodecError(reason.to_string())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}
