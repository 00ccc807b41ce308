//! The supervisor's promises, each on the real engine.

mod bench;
mod conversions;
mod death;
mod finished;
mod hostile;
mod replacement;
mod start;
