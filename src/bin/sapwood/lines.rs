//! Rows from escaped lines, plain or compressed by gzip, which is told from the first bytes.
//!
//! ```text
//! key TAB value NEWLINE        both in the escapes of crate::escape; the last newline may be
//! absent
//! ```
//!
//! Only one line is in memory at a time, and none longer than the longest legal row.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::escape;
use crate::failure::Failure;

/// The longest row there can be: a key of 64 KiB and a value of 64 MiB, each byte escaped.
const LINE_BYTES_MAX: u64 = 2 * ((64 << 10) + (64 << 20)) + 2;

/// The first bytes of a gzip stream with its only method.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];

const BUFFER_BYTES: usize = 64 << 10;

/// Reads rows.
pub struct Lines<'a> {
    input: Box<dyn BufRead + 'a>,
    line: Vec<u8>,
    /// Of the line that was read last, counted from 1.
    number: u64,
}

/// A key and its value.
pub type Row<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

impl<'a> Lines<'a> {
    pub fn new(mut input: impl Read + 'a) -> io::Result<Lines<'a>> {
        let mut head = Vec::new();
        input.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
        let is_gzip = head == GZIP;
        let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(input));
        let input: Box<dyn BufRead + 'a> = if is_gzip {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole)))
        } else {
            Box::new(whole)
        };
        Ok(Lines { input, line: Vec::new(), number: 0 })
    }

    /// The next row; `None` at the end of the input.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, Failure> {
        self.number += 1;
        self.line.clear();
        let mut limited = (&mut self.input).take(LINE_BYTES_MAX + 1);
        let read = limited.read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| {
            Failure::other(format!("line {} of the input cannot be read: {error}", self.number))
        })?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 > LINE_BYTES_MAX {
            let sentence = format!("line {} is longer than any row can be", self.number);
            return Err(Failure::usage(sentence));
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        parse(line, self.number).map(Some)
    }
}

fn parse(line: &[u8], number: u64) -> Result<Row<'_>, Failure> {
    let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
        let sentence = format!("line {number} has no tab between key and value");
        return Err(Failure::usage(sentence));
    };
    let (key, value) = line.split_at(tab);
    let value = value.get(1..).unwrap_or_default();
    let broken = |start: usize| {
        move |broken: escape::BrokenEscape| {
            let column = start + broken.column;
            Failure::usage(format!("line {number}, column {column}: {broken}"))
        }
    };
    let key = escape::decode(key).map_err(broken(0))?;
    let value = escape::decode(value).map_err(broken(tab + 1))?;
    Ok((key, value))
}
