//! The supervisor's promises, each on the real engine.

mod conversions;
mod death;
mod finished;
mod harness;
mod hostile;
mod replacement;
mod start;
