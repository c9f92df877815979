//! Residency.
