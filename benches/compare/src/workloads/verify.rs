//! The check that ends a workload: the store holds each row that it must, whole, once, and no
//! other.

use std::ops::ControlFlow;

use crate::Result;
use crate::answer::Answer;
use crate::row::Rows;
use crate::store::{Direction, Store};

/// Scans everything; `is_right` judges a row by its number and value. Returns how many rows there
/// are: with ascending keys of right rows, as many as wanted means exactly those wanted.
pub fn verify(
    store: &dyn Store,
    rows: Rows,
    is_right: &mut dyn FnMut(u64, &[u8]) -> bool,
) -> Result<u64> {
    let mut order = Answer::new();
    let mut wrong = None;
    store.read(&mut |reader| {
        order.expect(Direction::Forward, usize::MAX);
        reader.scan(None, Direction::Forward, &mut |key, value| {
            if !rows.number(key).is_some_and(|number| is_right(number, value)) {
                wrong = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            order.meet(key)
        })
    })?;
    if let Some(key) = wrong {
        return Err(format!("key {} or its value must not be there", key.escape_ascii()).into());
    }
    match order.is_in_order {
        true => Ok(order.count as u64),
        false => Err(format!("a scan is out of order after {} rows", order.count).into()),
    }
}

/// As [`verify`], with as many rows as `wanted`.
pub fn verify_all(
    store: &dyn Store,
    rows: Rows,
    wanted: u64,
    is_right: &mut dyn FnMut(u64, &[u8]) -> bool,
) -> Result<()> {
    match verify(store, rows, is_right)? {
        found if found == wanted => Ok(()),
        found => Err(format!("{found} of {wanted} rows are there").into()),
    }
}
