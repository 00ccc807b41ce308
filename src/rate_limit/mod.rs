//! Rate limits: an exact sliding window of requests for each client.
//!
//! A limiter stores the times of a client's requests for the length of the window, and allows a request while fewer are
//! stored than the quota. A refused request is not stored, so that retrying costs nothing. `memory` stores the times in
//! this process; `redis` stores them for all processes, and uses the former while Redis is unavailable.

mod limiter;
mod memory;
mod redis;

pub use limiter::{Decision, Limiter, Quota, Ticket};
pub use memory::MemoryLimiter;
pub use redis::RedisLimiter;
