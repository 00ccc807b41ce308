//! The table of settings: the name, accepted values, default and help of each.
//!
//! Values are parsed with it; `meshgate serve --help` and docs/CONFIGURATION.md are generated from it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::kubernetes_names;
use super::setting::DefaultValue::{Either, Unset, Value};
use super::setting::{Info, Setting};
use super::types::{ApiKey, CacheScope, Environment, KubernetesMode, LogFormat};
use super::values::{self, ADDRESS, SIZE, Secret};
use super::webhooks::{self, WebhookAllow, WebhookSecret};
use crate::domain::SandboxMode;

/// Prefix of variables that only this program reads; `MESHGATE_NAME` overrides `NAME`.
pub const PREFIX: &str = "MESHGATE_";
/// Suffix of a secret's name that makes the value a path to a file with the secret.
pub const FILE: &str = "_FILE";

/// Least memory limit, in bytes. Blender needs 1.3 GB of address space before it reads anything.
const LEAST_MEMORY: u64 = 1536 << 20;

/// Least memory of a pod, in bytes: with less, Blender alone runs out of it.
const LEAST_POD_MEMORY: u64 = 512 << 20;
const POD_MEMORY: &str = "a number of bytes, or one like 2G, of at least 512M";

/// The setting with this name, or the secret with this `_FILE` name.
pub fn named(name: &str) -> Option<&'static Info> {
    let is_file_of = |info: &Info| info.secret && name.strip_suffix(FILE) == Some(info.name);
    TABLE.iter().copied().find(|info| info.name == name || is_file_of(info))
}

macro_rules! settings {
    ($([$group:literal] $($(#[$attribute:ident])? $name:ident: $type:ty {
        $(alias: $alias:literal,)?
        $(option: $option:expr,)?
        takes: $takes:expr,
        default: $default:expr,
        help: $help:literal,
        parse: $parse:expr,
    })*)*) => {
        $($(pub static $name: Setting<$type> = Setting {
            info: Info {
                name: stringify!($name),
                alias: settings!(@optional $($alias)?),
                option: settings!(@optional $($option)?),
                group: $group,
                takes: $takes,
                default: $default,
                help: $help,
                secret: settings!(@secret $($attribute)?),
            },
            parse: $parse,
        };)*)*

        /// Every group, and every setting, in the order in which they are shown.
        pub static GROUPS: &[&str] = &[$($group),*];
        pub static TABLE: &[&Info] = &[$($(&$name.info),*),*];
    };
    (@optional) => { None };
    (@optional $value:expr) => { Some($value) };
    (@secret) => { false };
    (@secret secret) => { true };
}

settings! {
    ["Server"]
    APP_ENV: Environment {
        takes: "development or production",
        default: Value("development"),
        help: "environment: sets other defaults",
        parse: |value| values::choice(value, &[
            ("development", Environment::Development),
            ("production", Environment::Production),
        ]),
    }
    BIND_ADDRESS: SocketAddr {
        takes: ADDRESS,
        default: Either("127.0.0.1:5000", "0.0.0.0:5000"),
        help: "address to listen on; 0.0.0.0 or [::] are all addresses of the machine",
        parse: values::address,
    }
    METRICS_ADDRESS: SocketAddr {
        takes: ADDRESS,
        default: Unset("on BIND_ADDRESS"),
        help: "separate address of /metrics, which also answers probes",
        parse: values::address,
    }
    MAX_FILE_SIZE: u64 {
        takes: SIZE,
        default: Value("100M"),
        help: "largest request body, in bytes or like 100M",
        parse: |value| values::size(value, 1),
    }
    MAX_UPLOADS_SIZE: u64 {
        takes: SIZE,
        default: Unset("32 × MAX_FILE_SIZE"),
        help: "largest total of unfinished uploads, in bytes or like 4G; at least 2 × MAX_FILE_SIZE, since one client may use as much as it leaves free for others",
        parse: |value| values::size(value, 1),
    }
    READ_TIMEOUT: Duration {
        takes: values::SECONDS,
        default: Value("30"),
        help: "seconds that a client may take for the headers, and may pause within a body; up to four times as long after a fast start",
        parse: values::seconds,
    }
    MAX_CONNECTIONS: usize {
        takes: "a number from 1 to 100000",
        default: Value("1024"),
        help: "most connections at a time",
        parse: |value| values::number(value, 1..=100_000),
    }
    SHUTDOWN_DELAY: Duration {
        takes: values::SECONDS_OR_NONE,
        default: Either("0", "5"),
        help: "seconds after the signal to stop in which requests are still accepted, so that load balancers notice",
        parse: values::seconds_or_none,
    }
    SHUTDOWN_GRACE: Duration {
        takes: values::SECONDS_OR_NONE,
        default: Value("60"),
        help: "seconds that running conversions then have to finish",
        parse: values::seconds_or_none,
    }

    ["Conversions"]
    WORKERS: usize {
        alias: "GUNICORN_WORKERS",
        takes: "a number from 0 to 256",
        default: Value("2"),
        help: "conversions at a time; 0 is none, for a gateway whose requests and jobs are run by `meshgate worker`",
        parse: |value| values::number(value, 0..=256),
    }
    QUEUE_LIMIT: usize {
        takes: "a number from 0 to 100000",
        default: Unset("4 × WORKERS"),
        help: "queue length; more get 503. If WORKERS is 0, requests that run at other processes or wait for them: half of MAX_CONNECTIONS unless set",
        parse: |value| values::number(value, 0..=100_000),
    }
    CONVERSION_TIMEOUT: Duration {
        takes: values::SECONDS,
        default: Value("600"),
        help: "seconds that one conversion may take, including its time in the queue; waiting of jobs does not count",
        parse: values::seconds,
    }

    ["Engine"]
    BLENDER_PYTHON: PathBuf {
        option: ("--blender-python", "FILE"),
        takes: "the name of a file",
        default: Unset("the one of `meshgate engine install`"),
        help: "the Python 3.11 with bpy to use",
        parse: values::path,
    }
    BLENDER_BIN: PathBuf {
        option: ("--blender-bin", "FILE"),
        takes: "the name of a file",
        default: Unset("none"),
        help: "the Blender 5 to use instead of a Python with bpy",
        parse: values::path,
    }
    DATA_DIR: PathBuf {
        option: ("--data-dir", "DIR"),
        takes: "the name of a folder",
        default: Unset("the user's cache folder"),
        help: "folder for running conversions, stored results and jobs",
        parse: values::path,
    }
    SANDBOX: SandboxMode {
        option: ("--sandbox", "auto|require|off"),
        takes: "auto, require or off",
        default: Either("auto", "require"),
        help: "sandbox conversions as far as the machine can (auto), fully or refuse to start (require), or not at all (off)",
        parse: |value| values::choice(value, &[
            ("auto", SandboxMode::Auto),
            ("require", SandboxMode::Require),
            ("off", SandboxMode::Off),
        ]),
    }
    WORKER_MEMORY_LIMIT: u64 {
        option: ("--worker-memory-limit", "SIZE"),
        takes: "a number of bytes, or one like 4G, of at least 1536M",
        default: Value("4G"),
        help: "address space of one conversion, in bytes or like 4G; at least 1536M, since Blender alone needs 1.3 GB. About half of it is used as memory",
        parse: |value| values::size(value, LEAST_MEMORY),
    }
    WORKER_MAX_REQUESTS: u64 {
        option: ("--worker-max-requests", "N"),
        takes: "a number above 0",
        default: Value("1000"),
        help: "conversions after which Blender is restarted",
        parse: |value| values::number(value, 1..=u64::MAX),
    }
    MAX_UNPACKED_SIZE: u64 {
        option: ("--max-unpacked-size", "SIZE"),
        takes: SIZE,
        default: Value("1G"),
        help: "largest unpacked model, and largest result (at least 64M), in bytes or like 512M or 4G",
        parse: |value| values::size(value, 1),
    }

    ["Results"]
    STORAGE_URL: Url {
        takes: "a URL like file:///srv/meshgate, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix",
        default: Unset("a folder below DATA_DIR"),
        help: "store of results and reports: file:///FOLDER, s3://, gs:// or az://BUCKET/PREFIX",
        parse: values::store,
    }
    CONVERSION_CACHE_DIR: PathBuf {
        takes: "the name of a folder",
        default: Unset("none: STORAGE_URL applies"),
        help: "folder of results and reports, instead of STORAGE_URL",
        parse: values::path,
    }
    RESULT_TTL: Duration {
        takes: values::LIFETIME,
        default: Value("86400"),
        help: "seconds that results and reports are kept",
        parse: values::lifetime,
    }
    DATA_MAX_SIZE: u64 {
        takes: SIZE,
        default: Value("10G"),
        help: "largest store of results, reports and cache entries, in bytes or like 10G; beyond it, least recently used goes first",
        parse: |value| values::size(value, 1),
    }
    CACHE: bool {
        takes: values::SWITCH,
        default: Value("on"),
        help: "serve repeated conversions from the cache",
        parse: values::switch,
    }
    CACHE_DURATION: Duration {
        takes: values::LIFETIME,
        default: Value("3600"),
        help: "cache lifetime in seconds; RESULT_TTL if that is less",
        parse: values::lifetime,
    }
    CACHE_MAX_SIZE: u64 {
        takes: SIZE,
        default: Value("5G"),
        help: "largest total of cached results in a process without Redis, in bytes or like 5G; beyond it, least recently used goes first, and a larger result is not cached",
        parse: |value| values::size(value, 1),
    }
    PRESIGN_RESULTS: bool {
        takes: values::SWITCH,
        default: Value("false"),
        help: "redirect clients to the bucket for large results (s3:// and gs:// only)",
        parse: values::switch,
    }

    ["Jobs"]
    #[secret]
    JOBS_REDIS_URL: Secret {
        takes: values::REDIS_URL,
        default: Unset("none: jobs are kept in DATA_DIR"),
        help: "the Redis that keeps jobs, so that processes share them: a URL like REDIS_URL; it must persist (appendonly yes) and never evict (maxmemory-policy noeviction)",
        parse: values::redis_url,
    }
    #[secret]
    JOBS_REDIS_PASSWORD: Secret {
        takes: "a password",
        default: Unset("none"),
        help: "the password, for a JOBS_REDIS_URL without one",
        parse: values::secret,
    }
    ALLOW_VOLATILE_JOBS: bool {
        takes: values::SWITCH,
        default: Value("off"),
        help: "accept a JOBS_REDIS_URL that evicts or does not persist, and thus may lose jobs",
        parse: values::switch,
    }
    JOBS_TTL: Duration {
        takes: values::LIFETIME,
        default: Value("86400"),
        help: "seconds that a job may wait for its start, and that it is kept after its end",
        parse: values::lifetime,
    }
    JOBS_LIMIT: u64 {
        takes: "a number from 2 to 10000000",
        default: Value("10000"),
        help: "most unfinished jobs; one client may have half of them. More get 429",
        parse: |value| values::number(value, 2..=10_000_000),
    }
    JOBS_MAX_SIZE: u64 {
        takes: SIZE,
        default: Value("20G"),
        help: "largest total of the models of unfinished jobs, in bytes or like 20G; one client may have half of it. More get 507",
        parse: |value| values::size(value, 2),
    }
    JOBS_SHARE: usize {
        takes: "a number from 1 to 100",
        default: Value("50"),
        help: "percentage of WORKERS, rounded up, that jobs may use while requests wait; idle workers always take jobs",
        parse: |value| values::number(value, 1..=100),
    }
    #[secret]
    WEBHOOK_SECRET: Vec<WebhookSecret> {
        takes: "secrets of 24 to 64 bytes, each whsec_ and then Base64, separated by commas or spaces",
        default: Unset("none: webhooks are refused"),
        help: "secrets that sign webhooks, each whsec_ and 24 to 64 bytes in Base64 (from `openssl rand -base64 32`), separated by commas or spaces; every secret signs, the first one first, so that receivers can be changed from one to another",
        parse: webhooks::secrets,
    }
    WEBHOOK_ALLOW: WebhookAllow {
        takes: "host names, addresses and networks like 10.0.0.0/8, separated by commas",
        default: Unset("none: public addresses only"),
        help: "receivers of webhooks that may have private addresses: host names, addresses and networks, separated by commas",
        parse: webhooks::allow,
    }

    ["Kubernetes Jobs"]
    KUBERNETES_JOBS: KubernetesMode {
        takes: "off, auto or always",
        default: Value("off"),
        help: "jobs that run as Kubernetes Jobs with memory of their own: none (off), heavy ones (auto), or all that need Blender (always); a request may ask with executor=kubernetes or executor=local. Needs a bucket in STORAGE_URL, JOBS_REDIS_URL and KUBERNETES_JOB_TEMPLATE",
        parse: |value| values::choice(value, &[
            ("off", KubernetesMode::Off),
            ("auto", KubernetesMode::Auto),
            ("always", KubernetesMode::Always),
        ]),
    }
    KUBERNETES_JOB_MIN_SIZE: u64 {
        takes: SIZE,
        default: Value("64M"),
        help: "least size of the model of a heavy job, in bytes or like 64M",
        parse: |value| values::size(value, 1),
    }
    KUBERNETES_JOB_TEMPLATE: PathBuf {
        takes: "the name of a file",
        default: Unset("none"),
        help: "JSON file with the pod template of Kubernetes Jobs, which the Helm chart mounts",
        parse: values::path,
    }
    KUBERNETES_JOB_PREFIX: String {
        takes: "lower-case letters, digits and dashes, at most 24",
        default: Value("meshgate"),
        help: "what the names of Kubernetes Jobs begin with; another one for each installation in a namespace",
        parse: kubernetes_names::prefix,
    }
    POD_NAMESPACE: String {
        takes: "the name of a namespace",
        default: Unset("that of the service account"),
        help: "namespace of the Kubernetes Jobs",
        parse: kubernetes_names::name,
    }
    POD_NAME: String {
        takes: "the name of a pod",
        default: Unset("none"),
        help: "name of this pod; Kubernetes removes the Kubernetes Jobs with its Deployment",
        parse: kubernetes_names::pod,
    }
    KUBERNETES_JOBS_MAX: usize {
        takes: "a number from 1 to 10000",
        default: Value("20"),
        help: "most unfinished Kubernetes Jobs at a time; more heavy jobs wait",
        parse: |value| values::number(value, 1..=10_000),
    }
    KUBERNETES_JOB_PENDING_TIMEOUT: Duration {
        takes: values::SECONDS,
        default: Value("600"),
        help: "seconds that a Kubernetes Job may wait for a place in the cluster; then a worker runs the job, or it fails if the worker has too little memory",
        parse: values::seconds,
    }
    KUBERNETES_JOB_DEADLINE: Duration {
        takes: values::SECONDS,
        default: Unset("KUBERNETES_JOB_PENDING_TIMEOUT + 3 × CONVERSION_TIMEOUT"),
        help: "seconds that a Kubernetes Job may take in all, waiting included; above CONVERSION_TIMEOUT",
        parse: values::seconds,
    }
    KUBERNETES_JOB_TTL: Duration {
        takes: values::SECONDS_OR_NONE,
        default: Value("3600"),
        help: "seconds that Kubernetes keeps a Kubernetes Job with its log after its end",
        parse: values::seconds_or_none,
    }
    KUBERNETES_JOB_MEMORY_MIN: u64 {
        takes: POD_MEMORY,
        default: Value("2G"),
        help: "least memory of the pod of a Kubernetes Job, in bytes or like 2G",
        parse: |value| values::size(value, LEAST_POD_MEMORY),
    }
    KUBERNETES_JOB_MEMORY_MAX: u64 {
        takes: POD_MEMORY,
        default: Value("16G"),
        help: "most memory of the pod of a Kubernetes Job, in bytes or like 16G; a job that needs more fails",
        parse: |value| values::size(value, LEAST_POD_MEMORY),
    }
    KUBERNETES_JOB_QUEUE: String {
        takes: "the name of a local queue of Kueue",
        default: Unset("none: Kubernetes starts them at once"),
        help: "local queue of Kueue that admits the Kubernetes Jobs",
        parse: kubernetes_names::name,
    }

    ["Access"]
    TRUSTED_PROXIES: Vec<IpNet> {
        takes: "addresses and networks like 10.0.0.0/8, separated by commas",
        default: Unset("none"),
        help: "proxies whose X-Forwarded-For is trusted: addresses and networks, separated by commas",
        parse: values::networks,
    }
    CORS_ORIGINS: Vec<String> {
        takes: "origins like https://example.org, separated by commas, or a single *",
        default: Unset("none"),
        help: "sites whose pages may call from a browser: origins like https://example.org, or * for all",
        parse: values::origins,
    }
    #[secret]
    API_KEYS: Vec<ApiKey> {
        takes: "NAME:KEY or NAME@REQUESTS:KEY pairs, separated by commas or line ends",
        default: Unset("everybody may convert"),
        help: "keys of clients: NAME:KEY pairs, keys of 16 characters or more, separated by commas or line ends; NAME@REQUESTS:KEY has its own limit instead of RATE_LIMIT_REQUESTS",
        parse: values::api_keys,
    }
    CACHE_SCOPE: CacheScope {
        takes: "key or shared",
        default: Unset("key with API_KEYS, else shared"),
        help: "sharing of cached results and reports: each API key has its own (key), or all clients share them (shared)",
        parse: |value| values::choice(value, &[("key", CacheScope::Key), ("shared", CacheScope::Shared)]),
    }
    RATE_LIMIT_REQUESTS: u32 {
        takes: values::REQUESTS,
        default: Either("0", "10"),
        help: "conversions that one client may request in RATE_LIMIT_WINDOW; a client is an API key, else an address (one /64 of IPv6); 0 is no limit",
        parse: values::requests,
    }
    RATE_LIMIT_WINDOW: Duration {
        takes: "a whole number of seconds from 1 to 86400",
        default: Value("60"),
        help: "seconds in which these are counted",
        parse: |value| values::number(value, 1..=86_400).map(Duration::from_secs),
    }

    ["Redis"]
    #[secret]
    REDIS_URL: Secret {
        takes: values::REDIS_URL,
        default: Unset("none: processes share nothing"),
        help: "the Redis that all processes share: redis://user:password@host:6379/0, rediss:// with TLS, or unix:///run/redis.sock",
        parse: values::redis_url,
    }
    REDIS_HOST: String {
        takes: values::REDIS_HOST,
        default: Unset("none"),
        help: "the host of that Redis, instead of REDIS_URL",
        parse: values::redis_host,
    }
    REDIS_PORT: u16 {
        takes: "a number from 1 to 65535",
        default: Value("6379"),
        help: "the port on REDIS_HOST",
        parse: |value| values::number(value, 1..=u16::MAX),
    }
    #[secret]
    REDIS_PASSWORD: Secret {
        takes: "a password",
        default: Unset("none"),
        help: "the password, for REDIS_HOST or a REDIS_URL without one",
        parse: values::secret,
    }

    ["Logs and traces"]
    LOG_LEVEL: String {
        takes: "error, warn, info, debug, trace, off or a filter of tracing like info,hyper=debug",
        default: Value("info"),
        help: "least level to log: error, warn, info, debug, trace, off or a filter of tracing like info,hyper=debug",
        parse: values::filter,
    }
    LOG_FORMAT: LogFormat {
        takes: "plain or json",
        default: Either("plain", "json"),
        help: "format of log lines: for people (plain), or JSON (json)",
        parse: |value| values::choice(value, &[("plain", LogFormat::Plain), ("json", LogFormat::Json)]),
    }
    LOG_FILE: PathBuf {
        takes: "the name of a file",
        default: Unset("none"),
        help: "file to log to, besides standard output; a new one each day: app.log is app.2026-01-31.log",
        parse: values::file_name,
    }
    LOG_FILES: usize {
        takes: "a number from 1 to 1000",
        default: Value("7"),
        help: "log files to keep; other files are never removed",
        parse: |value| values::number(value, 1..=1000),
    }
    OTEL_EXPORTER_OTLP_ENDPOINT: String {
        takes: "a URL like http://collector:4317",
        default: Unset("no traces"),
        help: "receiver of OpenTelemetry traces over gRPC: a URL like http://collector:4317, or https:// for TLS; without a user, password or query",
        parse: values::receiver,
    }
}
