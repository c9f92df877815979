//! Everything that is tested through the public API; the list of modules is the table of contents.

mod basics;
mod sim;
