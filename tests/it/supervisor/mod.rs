//! The supervisor's promises, each on the real engine.

mod bench;
mod conversions;
mod death;
mod replacement;
mod start;
