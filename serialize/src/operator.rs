//! Merge operators: how an operand changes a value, said by the user, run wherever versions meet.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::message::VALUE_BYTES_MAX;

/// Why an operator could not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeError(String);

impl MergeError {
    /// An error with a sentence for people.
    pub fn new(reason: impl Into<String>) -> MergeError {
        MergeError(reason.into())
    }
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MergeError {}

impl From<&str> for MergeError {
    fn from(reason: &str) -> MergeError {
        MergeError::new(reason)
    }
}

impl From<String> for MergeError {
    fn from(reason: String) -> MergeError {
        MergeError(reason)
    }
}

/// How the operands of a tree's merges change its values.
///
/// A merge is one message and reads nothing; the operator runs later, when a reader asks for the
/// key or the operand reaches the value. It may run on any thread, any number of times for the
/// same operand, so it must be a pure function of its arguments. Where it fails or panics, reading
/// that key returns the error and its operands stay; nothing else is affected.
///
/// ```
/// use sapwood_serialize::{MergeError, MergeOperator};
///
/// /// Keeps the longest operand.
/// struct Longest;
///
/// impl MergeOperator for Longest {
///     fn name(&self) -> &str {
///         "longest"
///     }
///
///     fn apply(
///         &self,
///         _: &[u8],
///         base: Option<&[u8]>,
///         operand: &[u8],
///     ) -> Result<Vec<u8>, MergeError> {
///         let base = base.unwrap_or_default();
///         Ok(if operand.len() > base.len() { operand } else { base }.to_vec())
///     }
///
///     fn combine(&self, _: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
///         Some(if newer.len() > older.len() { newer } else { older }.to_vec())
///     }
/// }
/// # assert_eq!(Longest.apply(b"", None, b"ab"), Ok(b"ab".to_vec()));
/// ```
pub trait MergeOperator: Send + Sync + 'static {
    /// Its name, stored with the tree: a tree opened with another operator is refused. Up to 255
    /// bytes.
    fn name(&self) -> &str;

    /// To be raised when the same operands would give other values; checked like the name.
    fn version(&self) -> u32 {
        1
    }

    /// The value after `operand` was merged into `base`, which is `None` where the key is absent.
    ///
    /// # Errors
    /// When the operand makes no sense; reading the key then returns this error.
    fn apply(&self, key: &[u8], base: Option<&[u8]>, operand: &[u8])
    -> Result<Vec<u8>, MergeError>;

    /// One operand with the effect of `older` followed by `newer`; `None`, the default, keeps both.
    /// Worth having: it keeps chains of operands short.
    fn combine(&self, key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        let _ = (key, older, newer);
        None
    }
}

/// A declared operator, shared by all who run it.
#[derive(Clone)]
pub struct Operator {
    operator: Arc<dyn MergeOperator>,
    value_bytes_max: usize,
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operator({:?}, version {})", self.name(), self.version())
    }
}

impl Operator {
    /// Shares `operator`.
    pub fn new(operator: impl MergeOperator) -> Operator {
        Operator { operator: Arc::new(operator), value_bytes_max: VALUE_BYTES_MAX }
    }

    /// The same operator, whose values must not be longer than this.
    #[must_use]
    pub fn limited_to(&self, value_bytes_max: usize) -> Operator {
        Operator { operator: self.operator.clone(), value_bytes_max }
    }

    /// The operator's name.
    pub fn name(&self) -> &str {
        self.operator.name()
    }

    /// The operator's version.
    pub fn version(&self) -> u32 {
        self.operator.version()
    }

    /// The value after `operands`, oldest first, were merged into `base`. A panic and a value that
    /// is too large are errors like the operator's own.
    pub fn apply_all<'o>(
        &self,
        key: &[u8],
        base: Option<&[u8]>,
        mut operands: impl Iterator<Item = &'o [u8]>,
    ) -> Result<Vec<u8>, MergeError> {
        // Nearly always there is one, and nothing to be combined.
        let Some(first) = operands.next() else { return Ok(base.unwrap_or_default().to_vec()) };
        let Some(second) = operands.next() else { return self.apply(key, base, first) };
        let operands = [first, second].into_iter().chain(operands);
        let mut value: Option<Vec<u8>> = None;
        for (_, operand) in self.combine_all(key, operands.map(|operand| (0, operand))) {
            value = Some(self.apply(key, value.as_deref().or(base), &operand)?);
        }
        Ok(value.unwrap_or_default())
    }

    /// The value behind one operand; a panic counts as a failure.
    fn apply(
        &self,
        key: &[u8],
        base: Option<&[u8]>,
        operand: &[u8],
    ) -> Result<Vec<u8>, MergeError> {
        let applied = catch_unwind(AssertUnwindSafe(|| self.operator.apply(key, base, operand)));
        let applied = applied.map_err(|panic| panicked(&*panic))??;
        if applied.len() > self.value_bytes_max {
            let (bytes, most) = (applied.len(), self.value_bytes_max);
            let reason = format!("the value would have {bytes} bytes; at most {most} are allowed");
            return Err(MergeError(reason));
        }
        Ok(applied)
    }

    /// Operands, oldest first and each with its MSN, in as few as the operator can make of them: a
    /// combined one has the MSN of its newest part.
    ///
    /// Neighbours are combined in rounds, so that an operand of many parts is copied as often as
    /// their number can be halved.
    pub fn combine_all<'o>(
        &self,
        key: &[u8],
        operands: impl Iterator<Item = (u64, &'o [u8])>,
    ) -> Vec<(u64, Cow<'o, [u8]>)> {
        let mut operands: Vec<_> =
            operands.map(|(msn, operand)| (msn, Cow::Borrowed(operand))).collect();
        loop {
            let before = operands.len();
            let mut combined = Vec::with_capacity(before.div_ceil(2));
            let mut rest = operands.into_iter();
            while let Some(older) = rest.next() {
                let Some(newer) = rest.next() else {
                    combined.push(older);
                    break;
                };
                match self.combine(key, &older.1, &newer.1) {
                    Some(both) => combined.push((newer.0, Cow::Owned(both))),
                    None => combined.extend([older, newer]),
                }
            }
            operands = combined;
            if operands.len() == before {
                return operands;
            }
        }
    }

    /// One operand for two, where the operator has one; a panic counts as none.
    fn combine(&self, key: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        let combined = catch_unwind(AssertUnwindSafe(|| self.operator.combine(key, older, newer)));
        combined.ok().flatten().filter(|operand| operand.len() <= self.value_bytes_max)
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> MergeError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    MergeError(format!("it panicked: {}", text.unwrap_or("without a message")))
}
