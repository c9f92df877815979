//! Standard output: escaped fields and text, buffered, checked on every write.

use std::io::{self, StdoutLock, Write};

use comfy_table::{CellAlignment, Table, presets};

use crate::escape;
use crate::failure::Failure;

/// Bytes gathered before they are handed to the system.
const BUFFER_BYTES: usize = 64 << 10;

/// Standard output, until the end of the command.
pub struct Output {
    out: StdoutLock<'static>,
    buffer: Vec<u8>,
}

impl Output {
    pub fn new() -> Output {
        Output { out: io::stdout().lock(), buffer: Vec::with_capacity(BUFFER_BYTES) }
    }

    /// A line of one field.
    pub fn field(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        escape::encode(&mut self.buffer, bytes);
        self.end_line()
    }

    /// A line as `load` reads it.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        escape::encode(&mut self.buffer, key);
        self.buffer.push(b'\t');
        escape::encode(&mut self.buffer, value);
        self.end_line()
    }

    /// Text as it is, which ends its own lines.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.buffer.extend_from_slice(text.as_bytes());
        self.hand_over_if_full()
    }

    fn end_line(&mut self) -> Result<(), Failure> {
        self.buffer.push(b'\n');
        self.hand_over_if_full()
    }

    fn hand_over_if_full(&mut self) -> Result<(), Failure> {
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    /// Hands everything to the reader. To be called at the end: only here is a failure told.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.buffer.clear();
        written.map_err(Failure::output)
    }
}

/// A table of names and figures, the figures flush right.
pub fn figures<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
