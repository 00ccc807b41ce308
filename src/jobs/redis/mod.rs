//! Jobs in a Redis that persists.
//!
//! Each transition is one Lua script, which Redis runs as one step, with its own clock. A script ends with all of its
//! writes or with none: Redis writes them to the append-only file as one transaction.
//!
//! ```text
//!  meshgate:{jobs}:job:ID              hash        the record: see `record.rs`
//!  meshgate:{jobs}:list:STATE:CLIENT   sorted set  IDs of a client's jobs in that state, by ID
//!  meshgate:{jobs}:queue:CLIENT        sorted set  IDs of a client's queued jobs, in the order in which they are taken
//!      score   a sequence number; negative if the job was given back without a pause; plus 2^51 for low
//!              priority, minus 2^51 for the job of a request
//!  meshgate:{jobs}:paused              sorted set  IDs of queued jobs that nobody may take yet, by the end of their
//!                                                  pause; then they join the queue of their client, as its last ones
//!  meshgate:{jobs}:clients             sorted set  clients with a queue; the first one is served next
//!      score   running jobs × 2^40, plus the sequence number of the client's latest take
//!  meshgate:{jobs}:served              sorted set  clients, by the number of their latest take; at most 10,000
//!  meshgate:{jobs}:client:CLIENT       hash        jobs, bytes and running: of the client's unfinished jobs
//!  meshgate:{jobs}:queued              sorted set  IDs of queued jobs, paused ones too, by created_at
//!  meshgate:{jobs}:leases              sorted set  IDs of running jobs, by the end of their leases
//!  meshgate:{jobs}:expiry              sorted set  IDs of all other jobs, by expires_at
//!  meshgate:{jobs}:due                 sorted set  IDs of jobs whose webhook is not delivered, by when it is due
//!                                                  or its lease ends
//!  meshgate:{jobs}:counts              hash        jobs in each state, and bytes: of unfinished jobs
//!  meshgate:{jobs}:sequence            text        counts submissions, returns, ends of pauses and takes
//!  meshgate:{jobs}:reserved:HASH       text        the token that holds a key for idempotency; half a minute
//!  meshgate:{jobs}:used:HASH           text        ID and fingerprint of the job that used the key; 24 hours,
//!                                                  even if the job is removed
//!  meshgate:{jobs}:hints               channel     `q`: a job is queued; `c:ID`: one has changed; `d`: webhook due
//! ```
//!
//! - **Nothing stays.** Keys of clients go with their last job, and `Queue::sweep` expires and removes jobs. So
//!   memory follows the number of jobs that are kept: about 3 KB each.
//! - **Scripts find their keys**, and therefore declare only the prefix. A single Redis allows that. The hash tag
//!   `{jobs}` would keep all keys on one node of a Redis Cluster, but a cluster is refused: one node of it would do all
//!   the work.
//! - **A Redis that may lose jobs is refused**, on each new connection (`requirements.rs`). Snapshots (`save`) do not
//!   count as persistence, because they lose minutes of acknowledged jobs.
//! - **When the memory of Redis is full**, it refuses new jobs only. All other scripts work, and removal makes room.
//! - **What survives.** Redis writes to the append-only file before it answers, so an acknowledged job outlives the
//!   death of Redis. `appendfsync` decides about power failures: `always` loses nothing; with `everysec`, the last
//!   second, or two on a slow disk. Redis 7.2 can wait for the next flush (`WAITAOF`). That is not used, because with
//!   `everysec` each 202 would wait up to a second. `always` gives the same guarantee, and flushes once for all commands
//!   that have arrived.
//! - **Time** is that of Redis. If its clock goes forward, leases end early, which costs an attempt; if it goes back,
//!   the jobs of lost workers wait longer. Tokens keep results right in both cases.

mod keys;
mod operations;
mod queue;
mod record;
mod requirements;
mod scripts;
mod sweep;
mod wakeups;

pub use queue::RedisQueue;
