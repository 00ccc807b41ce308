//! Whether a Redis can keep jobs, by what it says about itself: `INFO` is allowed where `CONFIG` is not.

use crate::redis::Error;

/// Checks the answer to `INFO`. `allow_volatile`: a Redis that may lose jobs is only warned about.
///
/// # Errors
/// `Unsuitable`, with a sentence, if this Redis cannot keep jobs; `Failed` while it loads its data, since it cannot be
/// told before.
pub fn check(info: &str, allow_volatile: bool) -> Result<(), Error> {
    // Valkey has the second name, unless it is told to be compatible.
    let mode = field(info, "redis_mode").or_else(|| field(info, "server_mode"));
    if mode == Some("sentinel") {
        let why = "it is a Sentinel, which keeps no data; name an address that always leads to the master";
        return Err(Error::Unsuitable(why.to_owned()));
    }
    if mode == Some("cluster") || field(info, "cluster_enabled") == Some("1") {
        return Err(Error::Unsuitable("it is a Redis Cluster; use a single Redis for jobs".to_owned()));
    }
    // Until it has read its append-only file, it says that it has none (`aof_enabled:0`).
    if field(info, "loading") == Some("1") {
        return Err(Error::Failed("it is loading its data".to_owned()));
    }
    for why in [evicts(info), forgets(info)].into_iter().flatten() {
        if !allow_volatile {
            return Err(Error::Unsuitable(format!("{why}, or allow this with ALLOW_VOLATILE_JOBS=true")));
        }
        tracing::warn!("redis may lose jobs: {why}");
    }
    Ok(())
}

/// Why records may be evicted. Without `maxmemory`, nothing is evicted yet, but it may be set at any time.
fn evicts(info: &str) -> Option<String> {
    let policy = field(info, "maxmemory_policy").unwrap_or("unknown");
    if policy == "noeviction" {
        return None;
    }
    Some(format!(
        "it evicts keys when its memory is full (maxmemory-policy {policy}); set maxmemory-policy noeviction"
    ))
}

/// Why records may be lost when Redis stops.
fn forgets(info: &str) -> Option<String> {
    let appends = field(info, "aof_enabled") == Some("1");
    (!appends)
        .then(|| "it does not write each change to a file (appendonly no); set appendonly yes".to_owned())
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\r\n# Memory\r\n\
        maxmemory:1048576\r\nmaxmemory_human:1.00M\r\nmaxmemory_policy:noeviction\r\n\r\n\
        # Persistence\r\nloading:0\r\naof_enabled:1\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n";

    /// Why it cannot keep jobs.
    fn unsuitable(info: &str, allow_volatile: bool) -> String {
        match check(info, allow_volatile) {
            Err(Error::Unsuitable(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_redis_that_keeps_everything_is_accepted() {
        assert_eq!(check(SAFE, false), Ok(()));
        let unlimited = SAFE.replace("maxmemory:1048576", "maxmemory:0");
        assert_eq!(check(&unlimited, false), Ok(()));
    }

    #[test]
    fn a_redis_that_may_lose_jobs_has_to_be_allowed() {
        let evicting = SAFE.replace("noeviction", "volatile-ttl");
        let error = unsuitable(&evicting, false);
        assert!(
            error.contains("maxmemory-policy volatile-ttl") && error.contains("ALLOW_VOLATILE_JOBS"),
            "{error}"
        );
        // It would evict after `CONFIG SET maxmemory`.
        let unlimited = evicting.replace("maxmemory:1048576", "maxmemory:0");
        assert_eq!(unsuitable(&unlimited, false), error);
        let volatile = SAFE.replace("aof_enabled:1", "aof_enabled:0");
        let error = unsuitable(&volatile, false);
        assert!(error.contains("appendonly yes") && error.contains("ALLOW_VOLATILE_JOBS"), "{error}");
        for info in [evicting.as_str(), unlimited.as_str(), volatile.as_str(), ""] {
            assert!(check(info, false).is_err());
            assert_eq!(check(info, true), Ok(()));
        }
    }

    #[test]
    fn a_loading_redis_is_checked_once_it_has_loaded() {
        let loading = SAFE.replace("loading:0", "loading:1").replace("aof_enabled:1", "aof_enabled:0");
        for allow_volatile in [false, true] {
            let checked = check(&loading, allow_volatile);
            assert_eq!(checked, Err(Error::Failed("it is loading its data".to_owned())));
        }
        let cluster = loading.replace("standalone", "cluster");
        assert!(unsuitable(&cluster, true).contains("Cluster"));
    }

    #[test]
    fn valkey_is_accepted_on_the_same_terms() {
        let valkey = SAFE.replace("redis_version:7.0.15", "redis_version:7.2.4\r\nserver_name:valkey");
        let valkey = valkey.replace("redis_mode", "server_mode");
        assert_eq!(check(&valkey, false), Ok(()));
        assert!(check(&valkey.replace("aof_enabled:1", "aof_enabled:0"), false).is_err());
        assert!(unsuitable(&valkey.replace("standalone", "cluster"), true).contains("Cluster"));
    }

    #[test]
    fn a_sentinel_is_never_accepted() {
        for name in ["redis_mode", "server_mode"] {
            let sentinel = format!("# Server\r\n{name}:sentinel\r\n");
            assert!(unsuitable(&sentinel, true).contains("Sentinel"), "{name}");
        }
    }

    #[test]
    fn a_cluster_is_never_accepted() {
        for cluster in
            [SAFE.replace("standalone", "cluster"), SAFE.replace("cluster_enabled:0", "cluster_enabled:1")]
        {
            assert!(unsuitable(&cluster, true).contains("Redis Cluster"));
        }
    }
}
