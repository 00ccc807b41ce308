use std::collections::BTreeSet;
use std::fs;

use super::setting::DefaultValue;
use super::settings::TABLE;
use super::*;

pub(super) const KEY: &str = "0123456789abcdef";

pub(super) fn sources(variables: &[(&str, &str)]) -> Sources {
    Sources::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
}

pub(super) fn load(variables: &[(&str, &str)]) -> Config {
    Config::load(&sources(variables)).unwrap()
}

#[track_caller]
pub(super) fn wrong(variables: &[(&str, &str)]) -> Vec<String> {
    Config::load(&sources(variables)).unwrap_err().0
}

pub(super) fn with_file(variables: &[(&str, &str)], text: &str) -> Result<Config, Mistakes> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meshgate.toml");
    fs::write(&path, text).unwrap();
    let mut sources = sources(variables);
    sources.add_file(&path);
    // The temporary folder is removed from the messages.
    Config::load(&sources).map_err(|Mistakes(lines)| {
        let folder = format!("{}/", folder.path().display());
        Mistakes(lines.into_iter().map(|line| line.replace(&folder, "")).collect())
    })
}

#[test]
fn development_defaults_are_as_documented() {
    let config = load(&[]);
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let expected = Config {
        engine: Engine {
            python: None,
            blender: None,
            data_dir: None,
            sandbox: SandboxMode::Auto,
            memory: 4 << 30,
            max_requests: 1000,
            max_unpacked: 1 << 30,
        },
        storage: Storage {
            location: None,
            ttl: Duration::from_hours(24),
            max_bytes: 10 << 30,
            presign: false,
        },
        cache: Some(Cache { duration: Duration::from_hours(1), max_bytes: 5 << 30 }),
        jobs: Jobs {
            redis: None,
            allow_volatile: false,
            ttl: Duration::from_hours(24),
            max_jobs: 10_000,
            max_bytes: 20 << 30,
            share: 50,
        },
        kubernetes: Kubernetes {
            mode: KubernetesMode::Off,
            min_bytes: 64 << 20,
            template: None,
            namespace: None,
            prefix: "meshgate".to_owned(),
            pod: None,
            max_jobs: 20,
            pending_timeout: Duration::from_mins(10),
            given_deadline: None,
            ttl: Duration::from_hours(1),
            min_memory: 2 << 30,
            max_memory: 16 << 30,
            queue: None,
        },
        webhooks: Webhooks::default(),
        server: Server {
            bind: address("127.0.0.1:5000"),
            metrics: None,
            workers: 2,
            queue_limit: 8,
            timeout: Duration::from_mins(10),
            max_file_size: 104_857_600,
            max_uploads_size: 3_355_443_200,
            read_timeout: Duration::from_secs(30),
            max_connections: 1024,
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_mins(1),
        },
        access: Access {
            trusted_proxies: vec![],
            cors_origins: vec![],
            api_keys: vec![],
            cache_scope: CacheScope::Shared,
            rate_limit: RateLimit { requests: 0, window: Duration::from_mins(1) },
        },
        redis: None,
        log: Log { filter: "info".to_owned(), format: LogFormat::Plain, file: None, files: 7 },
        traces: Traces { endpoint: None },
    };
    assert_eq!(config, expected);
}

#[test]
fn production_defaults_are_as_documented() {
    let config = load(&[("APP_ENV", "production")]);
    assert_eq!(config.engine.sandbox, SandboxMode::Require);
    assert_eq!(config.server.bind, "0.0.0.0:5000".parse().unwrap());
    assert_eq!(config.server.shutdown_delay, Duration::from_secs(5));
    assert_eq!(config.log.format, LogFormat::Json);
    let limit = RateLimit { requests: 10, window: Duration::from_mins(1) };
    assert_eq!(config.access.rate_limit, limit);
    let config = load(&[("APP_ENV", "production"), ("SANDBOX", "off"), ("SHUTDOWN_DELAY", "0")]);
    assert_eq!((config.engine.sandbox, config.server.shutdown_delay), (SandboxMode::Off, Duration::ZERO));
}

#[test]
fn every_setting_in_the_table_is_read_once() {
    let sources = sources(&[]);
    let mut reader = Reader::new(&sources);
    Engine::read(&mut reader);
    Storage::read(&mut reader);
    Cache::read(&mut reader);
    Jobs::read(&mut reader);
    Kubernetes::read(&mut reader);
    Server::read(&mut reader);
    Webhooks::read(&mut reader);
    Access::read(&mut reader);
    Redis::read(&mut reader);
    Log::read(&mut reader);
    reader.given(&settings::OTEL_EXPORTER_OTLP_ENDPOINT);
    let asked: BTreeSet<_> = reader.asked.iter().copied().collect();
    assert_eq!(asked, TABLE.iter().map(|info| info.name).collect());
    assert_eq!(asked.len(), reader.asked.len());
}

/// A wrong value for each setting that can have one.
const WRONG: &[(&str, &str)] = &[
    ("APP_ENV", "prod"),
    ("BIND_ADDRESS", "localhost"),
    ("METRICS_ADDRESS", ":9000"),
    ("MAX_FILE_SIZE", "0"),
    ("MAX_UPLOADS_SIZE", "0"),
    ("READ_TIMEOUT", "0"),
    ("MAX_CONNECTIONS", "0"),
    ("SHUTDOWN_DELAY", "-1"),
    ("SHUTDOWN_GRACE", "soon"),
    ("WORKERS", "257"),
    ("QUEUE_LIMIT", "-1"),
    ("CONVERSION_TIMEOUT", "nan"),
    ("SANDBOX", "maybe"),
    ("WORKER_MEMORY_LIMIT", "64M"),
    ("WORKER_MAX_REQUESTS", "0"),
    ("MAX_UNPACKED_SIZE", "-1"),
    ("STORAGE_URL", "/srv/meshgate"),
    ("RESULT_TTL", "1d"),
    ("DATA_MAX_SIZE", "0"),
    ("CACHE", "yes"),
    ("CACHE_DURATION", "0"),
    ("CACHE_MAX_SIZE", "-1"),
    ("PRESIGN_RESULTS", "maybe"),
    ("JOBS_REDIS_URL", "http://:s3cret@cache"),
    ("ALLOW_VOLATILE_JOBS", "maybe"),
    ("JOBS_TTL", "1d"),
    ("JOBS_LIMIT", "1"),
    ("JOBS_MAX_SIZE", "1"),
    ("JOBS_SHARE", "101"),
    ("KUBERNETES_JOBS", "on"),
    ("KUBERNETES_JOB_MIN_SIZE", "0"),
    ("KUBERNETES_JOB_PREFIX", "Meshgate"),
    ("POD_NAME", "a pod"),
    ("POD_NAMESPACE", "my.namespace"),
    ("KUBERNETES_JOBS_MAX", "0"),
    ("KUBERNETES_JOB_PENDING_TIMEOUT", "0"),
    ("KUBERNETES_JOB_DEADLINE", "0"),
    ("KUBERNETES_JOB_TTL", "-1"),
    ("KUBERNETES_JOB_MEMORY_MIN", "511M"),
    ("KUBERNETES_JOB_MEMORY_MAX", "0"),
    ("KUBERNETES_JOB_QUEUE", "-"),
    ("WEBHOOK_SECRET", "not-a-secret"),
    ("WEBHOOK_ALLOW", "10.0.0.0/33"),
    ("TRUSTED_PROXIES", "proxy"),
    ("CORS_ORIGINS", "example.org"),
    ("API_KEYS", "ci:short"),
    ("CACHE_SCOPE", "mine"),
    ("RATE_LIMIT_REQUESTS", "100001"),
    ("RATE_LIMIT_WINDOW", "0.5"),
    ("REDIS_URL", "http://:s3cret@cache"),
    ("REDIS_HOST", "cache:6379"),
    ("REDIS_PORT", "0"),
    ("LOG_LEVEL", "loud"),
    ("LOG_FORMAT", "xml"),
    ("LOG_FILES", "0"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
];

#[test]
fn every_invalid_value_is_reported_on_one_line() {
    let anything = [
        "BLENDER_PYTHON",
        "BLENDER_BIN",
        "DATA_DIR",
        "CONVERSION_CACHE_DIR",
        "KUBERNETES_JOB_TEMPLATE",
        "LOG_FILE",
        "JOBS_REDIS_PASSWORD",
        "REDIS_PASSWORD",
    ];
    assert_eq!(WRONG.len() + anything.len(), TABLE.len());
    for (name, value) in WRONG {
        let lines = wrong(&[(name, value)]);
        let info = TABLE.iter().find(|info| info.name == *name).unwrap();
        let expected = match *name {
            "API_KEYS" => ": the key of pair 1 has fewer than 16 characters".to_owned(),
            "REDIS_URL" | "JOBS_REDIS_URL" => String::new(),
            "WEBHOOK_SECRET" => ": secret 1 does not begin with whsec_".to_owned(),
            _ => format!(", not {value:?}"),
        };
        assert_eq!(lines, [format!("{name} takes {}{expected}", info.takes)]);
    }
}

#[test]
fn all_invalid_settings_are_reported_together() {
    let lines = wrong(WRONG);
    assert_eq!(lines.len(), WRONG.len(), "{lines:#?}");
    for (name, _) in WRONG {
        assert!(lines.iter().any(|line| line.starts_with(&format!("{name} takes "))), "{name}");
    }
    assert!(lines.iter().all(|line| !line.contains('\n')));
}

#[test]
fn overlapping_bind_and_metrics_addresses_are_refused() {
    let both = |bind, metrics| [("BIND_ADDRESS", bind), ("METRICS_ADDRESS", metrics)];
    for (bind, metrics) in [
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("0.0.0.0:9000", "127.0.0.1:9000"),
        ("127.0.0.1:9000", "0.0.0.0:9000"),
        ("[::]:9000", "0.0.0.0:9000"),
        ("[::]:9000", "[::1]:9000"),
        ("10.0.0.1:9000", "[::]:9000"),
        ("[::ffff:10.0.0.1]:9000", "10.0.0.1:9000"),
    ] {
        let lines = wrong(&both(bind, metrics));
        assert_eq!(
            lines,
            [
                "METRICS_ADDRESS has the port of BIND_ADDRESS: set another port, or unset it to serve both there"
            ]
        );
    }
    for (bind, metrics) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("0.0.0.0:9000", "0.0.0.0:9001"),
        ("10.0.0.1:9000", "10.0.0.2:9000"),
        ("0.0.0.0:9000", "[::1]:9000"),
    ] {
        load(&both(bind, metrics));
    }
}

#[test]
fn zero_workers_are_none() {
    for name in ["WORKERS", "GUNICORN_WORKERS"] {
        let server = load(&[(name, "0")]).server;
        assert_eq!((server.workers, server.queue_limit), (0, server.max_connections / 2));
        assert_eq!(load(&[(name, "0"), ("QUEUE_LIMIT", "7")]).server.queue_limit, 7);
    }
    assert_eq!(wrong(&[("WORKERS", "-1")]), ["WORKERS takes a number from 0 to 256, not \"-1\""]);
}

#[test]
fn a_log_file_needs_a_file_name() {
    for path in ["/", "..", "/var/log/..", "/var/log/"] {
        let expected = format!("LOG_FILE takes the name of a file, not {path:?}");
        assert_eq!(wrong(&[("LOG_FILE", path)]), [expected]);
    }
    assert_eq!(load(&[("LOG_FILE", "log/app")]).log.file, Some("log/app".into()));
}

#[test]
fn either_of_two_settings_locates_the_store() {
    let place = |variables: &[(&str, &str)]| load(variables).storage.location;
    assert_eq!(place(&[]), None);
    let folder = |path: &str| Some(Location::Folder(path.into()));
    assert_eq!(place(&[("STORAGE_URL", "file:///srv/with%20space")]), folder("/srv/with space"));
    assert_eq!(place(&[("CONVERSION_CACHE_DIR", "cache")]), folder("cache"));
    let both = [("STORAGE_URL", "file:///srv"), ("CONVERSION_CACHE_DIR", "cache")];
    assert_eq!(wrong(&both), ["CONVERSION_CACHE_DIR and STORAGE_URL are both set; unset one of them"]);
    let text = "storage_url = 's3://bucket/pre/fix'";
    let variables = [("AWS_REGION", "eu-west-1"), ("AWS_TOKEN", ""), ("AZURE_TOKEN", "x"), ("HOME", "/")];
    let options = CloudOptions(vec![("AWS_REGION".to_owned(), "eu-west-1".to_owned())]);
    let expected = Location::Bucket("s3://bucket/pre/fix".parse().unwrap(), options);
    assert_eq!(with_file(&variables, text).unwrap().storage.location, Some(expected));
}

#[test]
fn a_bucket_secret_can_be_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "s3cret\n").unwrap();
    let bucket = ("STORAGE_URL", "s3://bucket");
    let named = ("AWS_SECRET_ACCESS_KEY_FILE", file.path().to_str().unwrap());
    // This `_FILE` variable belongs to the cloud and is passed on.
    let token = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
    let Some(Location::Bucket(_, CloudOptions(mut options))) = load(&[bucket, named, token]).storage.location
    else {
        panic!("it is a bucket")
    };
    options.sort();
    let expected = [("AWS_SECRET_ACCESS_KEY", "s3cret"), token];
    assert_eq!(options, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let lines = wrong(&[bucket, named, ("AWS_SECRET_ACCESS_KEY", "other")]);
    assert_eq!(
        lines,
        ["AWS_SECRET_ACCESS_KEY and AWS_SECRET_ACCESS_KEY_FILE are both set; unset one of them"]
    );
}

#[test]
fn jobs_have_a_redis_of_their_own() {
    let redis = load(&[("REDIS_URL", "redis://cache")]);
    assert_eq!((redis.jobs.redis, redis.jobs.allow_volatile), (None, false));
    let jobs = load(&[("JOBS_REDIS_URL", "redis://:s3cret@jobs"), ("ALLOW_VOLATILE_JOBS", "true")]);
    let url = jobs.jobs.redis.map(|redis| redis.url.expose().to_owned());
    assert_eq!((url.as_deref(), jobs.redis), (Some("redis://:s3cret@jobs"), None));
    assert!(jobs.jobs.allow_volatile);

    let (url, password) = (("JOBS_REDIS_URL", "redis://ada@jobs"), ("JOBS_REDIS_PASSWORD", "p@ss/w:rd"));
    let redis = load(&[url, password]).jobs.redis.unwrap();
    let secret = redis.password.unwrap();
    assert_eq!((redis.url.expose(), secret.expose()), ("redis://ada@jobs", "p@ss/w:rd"));
    assert_eq!(wrong(&[password]), ["JOBS_REDIS_PASSWORD is set, but JOBS_REDIS_URL is not"]);
    let twice = wrong(&[("JOBS_REDIS_URL", "redis://:s3cret@jobs"), password]);
    assert_eq!(twice, ["JOBS_REDIS_URL has a password and JOBS_REDIS_PASSWORD is set; use only one"]);
}

#[test]
fn redis_takes_either_a_url_or_a_host() {
    let redis = |variables: &[(&str, &str)]| load(variables).redis;
    let secret = |redis: Option<Redis>| {
        redis.map(|redis| {
            (redis.url.expose().to_owned(), redis.password.map(|secret| secret.expose().to_owned()))
        })
    };
    let is = |url: &str, password: Option<&str>| Some((url.to_owned(), password.map(str::to_owned)));
    let (host, password) = (("REDIS_HOST", "cache"), ("REDIS_PASSWORD", "p@ss/w:rd"));
    assert_eq!(redis(&[]), None);
    assert_eq!(secret(redis(&[host])), is("redis://cache:6379", None));
    let all = secret(redis(&[host, ("REDIS_PORT", "7000"), password]));
    assert_eq!(all, is("redis://cache:7000", Some("p@ss/w:rd")));
    let six = secret(redis(&[("REDIS_HOST", "fd00::1")]));
    assert_eq!(six, is("redis://[fd00::1]:6379", None));
    let url = ("REDIS_URL", "rediss://ada@cache/2");
    assert_eq!(secret(redis(&[url, password])), is("rediss://ada@cache/2", Some("p@ss/w:rd")));

    assert_eq!(wrong(&[url, host]), ["REDIS_URL and REDIS_HOST are both set; unset one of them"]);
    let port = ("REDIS_PORT", "7000");
    assert_eq!(wrong(&[url, port]), ["REDIS_URL and REDIS_PORT are both set; unset one of them"]);
    let alone = ["REDIS_PORT", "REDIS_PASSWORD"]
        .map(|name| format!("{name} is set, but neither REDIS_HOST nor REDIS_URL is"));
    assert_eq!(wrong(&[port, password]), alone);
    // Only the wrong value is a mistake, not the settings that depend on it.
    assert_eq!(wrong(&[("REDIS_HOST", "cache:1"), port, password]).len(), 1);
    assert_eq!(redis(&[("REDIS_PORT", "tcp://10.0.0.1:6379")]), None);
    let lines = wrong(&[("REDIS_URL", "redis://:s3cret@cache"), password]);
    assert_eq!(lines, ["REDIS_URL has a password and REDIS_PASSWORD is set; use only one"]);
    let lines = wrong(&[("REDIS_URL", "rediss://:s3cret@cache#insecure")]);
    assert!(lines[0].contains("SSL_CERT_FILE") && !lines[0].contains("s3cret"), "{lines:?}");
}

#[test]
fn the_queue_grows_with_the_workers() {
    assert_eq!(load(&[("WORKERS", "5")]).server.queue_limit, 20);
    assert_eq!(load(&[("WORKERS", "5"), ("QUEUE_LIMIT", "0")]).server.queue_limit, 0);
    assert!(matches!(settings::QUEUE_LIMIT.info.default, DefaultValue::Unset("4 × WORKERS")));
}

#[test]
fn prefixed_names_override_plain_names_and_those_override_aliases() {
    let workers = |variables: &[(&str, &str)]| load(variables).server.workers;
    let other = ("GUNICORN_WORKERS", "3");
    assert_eq!(workers(&[other]), 3);
    assert_eq!(workers(&[other, ("WORKERS", "4")]), 4);
    assert_eq!(workers(&[other, ("WORKERS", "")]), 3);
    assert_eq!(workers(&[other, ("WORKERS", "4"), ("MESHGATE_WORKERS", "5")]), 5);
    assert!(wrong(&[("GUNICORN_WORKERS", "many")])[0].starts_with("GUNICORN_WORKERS takes "));
    assert!(wrong(&[("MESHGATE_WORKERS", "many")])[0].starts_with("MESHGATE_WORKERS takes "));
}

#[test]
fn variables_of_other_programs_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (ours, theirs) = (at("ours", &format!("ours:{KEY}")), at("theirs", &format!("theirs:{KEY}")));
    let key = format!("ours:{KEY}");
    for own in [("MESHGATE_API_KEYS_FILE", ours.as_str()), ("MESHGATE_API_KEYS", key.as_str())] {
        for others in [
            &[("API_KEYS", "what they take")][..],
            &[("API_KEYS_FILE", &theirs)],
            &[("API_KEYS", "what they take"), ("API_KEYS_FILE", "/nowhere")],
        ] {
            let variables: Vec<_> = others.iter().copied().chain([own]).collect();
            assert_eq!(load(&variables).access.api_keys[0].name, "ours", "{variables:?}");
        }
    }
    let lines = wrong(&[("MESHGATE_API_KEYS", &key), ("MESHGATE_API_KEYS_FILE", &ours)]);
    let both = "MESHGATE_API_KEYS and MESHGATE_API_KEYS_FILE are both set; unset one of them";
    assert_eq!(lines, [both]);
}

#[test]
fn max_uploads_size_is_at_least_two_bodies() {
    assert_eq!(load(&[("MAX_FILE_SIZE", "1G")]).server.max_uploads_size, 32 << 30);
    let two = [("MAX_FILE_SIZE", "1G"), ("MAX_UPLOADS_SIZE", "2G")];
    assert_eq!(load(&two).server.max_uploads_size, 2 << 30);
    let lines = wrong(&[("MAX_FILE_SIZE", "1G"), ("MAX_UPLOADS_SIZE", "2047M")]);
    assert_eq!(lines, ["MAX_UPLOADS_SIZE must be at least 2 × MAX_FILE_SIZE"]);
}

#[test]
fn secrets_are_not_shown() {
    let config = load(&[("API_KEYS", &format!("ci:{KEY}"))]);
    let shown = format!("{config:?} {config:#?}");
    assert!(shown.contains("ci") && !shown.contains(KEY), "{shown}");
    let digest = format!("{:?}", config.access.api_keys[0].digest);
    assert!(!shown.contains(digest.trim_matches(['[', ']'])), "{shown}");
    assert!(TABLE.iter().any(|info| info.secret));
    let config = load(&[("STORAGE_URL", "s3://bucket"), ("AWS_SECRET_ACCESS_KEY", KEY)]);
    let shown = format!("{config:?} {config:#?}");
    assert!(shown.contains("AWS_SECRET_ACCESS_KEY") && !shown.contains(KEY), "{shown}");
    let lines = wrong(&[("STORAGE_URL", &format!("s3://me:{KEY}@bucket"))]);
    assert!(lines[0].starts_with("STORAGE_URL takes ") && !lines[0].contains(KEY), "{lines:?}");
    for name in ["REDIS_URL", "JOBS_REDIS_URL"] {
        let config = load(&[(name, "redis://:s3cret@cache"), ("REDIS_PASSWORD_FILE", "")]);
        let shown = format!("{config:?}");
        assert!(shown.contains("Redis") && !shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn only_paths_may_have_invalid_utf_8() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || std::ffi::OsString::from_vec(vec![b'a', 0xff]);
    let sources = |name: &str| Sources::new([(name.into(), bytes())]);
    for name in ["WORKERS", "API_KEYS", "LOG_LEVEL"] {
        let Mistakes(lines) = Config::load(&sources(name)).unwrap_err();
        assert!(lines.len() == 1 && lines[0].starts_with(name), "{lines:?}");
    }
    let config = Config::load(&sources("DATA_DIR")).unwrap();
    assert_eq!(config.engine.data_dir, Some(PathBuf::from(bytes())));
}

#[test]
fn misspelled_variables_are_warned_about() {
    let sources = sources(&[
        ("MESHGATE_PORT", "tcp://10.0.0.1:80"),
        ("MESHGATE_API_KEY", "of-a-client"),
        ("MESHGATE_COLOUR", "red"),
        ("WORKER", "3"),
        ("LOG_LEVLE", ""),
        ("HOME", "/root"),
    ]);
    let others = ["MESHGATE_COLOUR is not a setting", "WORKER is not a setting; did you mean WORKERS?"];
    assert_eq!(sources.warnings_for_users(), others);
    let key = "MESHGATE_API_KEY is not a setting; did you mean MESHGATE_API_KEYS or API_KEYS?";
    assert_eq!(sources.warnings(), [key, others[0], others[1]]);
    assert_eq!(Config::load(&sources).unwrap(), load(&[]));
}

#[test]
fn api_keys_do_not_share_the_cache_by_default() {
    let keys = ("API_KEYS", "studio:s3cret-s3cret-s3cret");
    assert_eq!(load(&[keys]).access.cache_scope, CacheScope::Key);
    assert_eq!(load(&[keys, ("CACHE_SCOPE", "shared")]).access.cache_scope, CacheScope::Shared);
    assert_eq!(load(&[]).access.cache_scope, CacheScope::Shared);
}
