//! Warnings about settings that are valid, but probably not what the operator wants.

use super::container_memory;
use crate::app;
use crate::config::Config;
use crate::http::Role;

/// Returns a sentence for each likely mistake.
pub fn likely_mistakes(config: &Config, role: Role) -> Vec<String> {
    let warnings = [
        container_memory::warning(config),
        unshared_jobs(config),
        private_jobs(config, role),
        volatile_jobs(config),
    ];
    warnings.into_iter().flatten().collect()
}

/// A warning if processes share a Redis, but not their jobs.
fn unshared_jobs(config: &Config) -> Option<String> {
    (config.redis.is_some() && config.jobs.redis.is_none()).then(|| {
        "REDIS_URL or REDIS_HOST is set, but JOBS_REDIS_URL is not: jobs are kept in DATA_DIR, where only processes \
         with the same DATA_DIR find them; set JOBS_REDIS_URL to a Redis that persists and never evicts"
            .to_owned()
    })
}

/// A warning if gateways and workers are apart, and nobody has said where their jobs are. The default folder belongs to
/// one user on one machine, so a worker elsewhere would wait for ever.
fn private_jobs(config: &Config, role: Role) -> Option<String> {
    if config.jobs.redis.is_some() || config.engine.data_dir.is_some() {
        return None;
    }
    let folder = app::data_folder(&config.engine);
    let folder = folder.display();
    match role {
        Role::Worker => Some(format!(
            "neither JOBS_REDIS_URL nor DATA_DIR is set: this worker takes jobs from {folder}, where only gateways of the \
             same user on this machine put them; set the same one as the gateways have"
        )),
        Role::Gateway if config.server.workers == 0 => Some(format!(
            "WORKERS is 0, and neither JOBS_REDIS_URL nor DATA_DIR is set: jobs are kept in {folder}, where only workers \
             of the same user on this machine find them; set the same one as the workers have"
        )),
        Role::Gateway => None,
    }
}

/// A warning if jobs are lost when the machine is started anew.
fn volatile_jobs(config: &Config) -> Option<String> {
    if config.jobs.redis.is_some() {
        return None;
    }
    let folder = app::volatile_data_folder(&config.engine)?;
    let folder = folder.display();
    Some(format!(
        "jobs are kept in {folder}, which does not survive a restart of this machine; set DATA_DIR to a folder on a disk"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Sources;

    fn config(variables: &[(&str, &str)]) -> Config {
        Config::load(&Sources::new(variables.iter().map(|(name, value)| (name.into(), value.into()))))
            .unwrap()
    }

    #[test]
    fn workers_and_their_gateways_need_a_shared_queue() {
        let (none, data) = (("WORKERS", "0"), ("DATA_DIR", "/srv/meshgate"));
        let redis = ("JOBS_REDIS_URL", "redis://jobs");
        let warning = private_jobs(&config(&[]), Role::Worker).unwrap();
        assert!(warning.starts_with("neither JOBS_REDIS_URL nor DATA_DIR is set: this worker"), "{warning}");
        let warning = private_jobs(&config(&[none]), Role::Gateway).unwrap();
        assert!(warning.starts_with("WORKERS is 0, and neither"), "{warning}");
        for (variables, role) in [
            (&[none, data][..], Role::Gateway),
            (&[none, redis], Role::Gateway),
            (&[], Role::Gateway),
            (&[data], Role::Worker),
            (&[redis], Role::Worker),
        ] {
            assert_eq!(private_jobs(&config(variables), role), None, "{variables:?}");
        }
    }

    #[test]
    fn jobs_in_memory_are_reported() {
        let memory = Path::new("/dev/shm");
        assert!(memory.is_dir(), "every Linux has it");
        let data = ("DATA_DIR", "/dev/shm/a-folder-that-is-not-there/data");
        let warning = volatile_jobs(&config(&[data])).unwrap();
        assert!(warning.contains("/dev/shm/a-folder") && warning.contains("set DATA_DIR"), "{warning}");
        assert_eq!(volatile_jobs(&config(&[data, ("JOBS_REDIS_URL", "redis://jobs")])), None);
        let disk = env!("CARGO_MANIFEST_DIR");
        assert_eq!(volatile_jobs(&config(&[("DATA_DIR", disk)])), None);
    }
}
