//! sapwood
