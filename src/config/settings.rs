//! The one table of settings: every name, what it takes, its default and what it is for.
//!
//! The values are parsed with it, `meshgate serve --help` and docs/CONFIGURATION.md are written from it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::values::{self, ADDRESS, SIZE, Wrong};
use super::{ApiKey, CacheScope, Environment, LogFormat, Secret};
use crate::domain::SandboxMode;

/// Before a name, it makes it this program's own.
pub const PREFIX: &str = "MESHGATE_";
/// After the name of a secret: the file that holds it.
pub const FILE: &str = "_FILE";

/// Blender takes 1.3 GB of addresses before it has read anything; with less than this, every conversion would fail.
const LEAST_MEMORY: u64 = 1536 << 20;

/// What there is to say of one setting.
#[derive(Debug)]
pub struct Info {
    /// The variable; in a file it is written in lower case.
    pub name: &'static str,
    /// A name that means the same, for those who come from elsewhere.
    pub alias: Option<&'static str>,
    /// Its option on the command line, where there is one, and what that calls its value.
    pub option: Option<(&'static str, &'static str)>,
    pub group: Group,
    /// Completes the sentence "NAME takes …".
    pub takes: &'static str,
    pub usual: Usual,
    pub help: &'static str,
    /// Whether its value is never shown, and may be given as the name of a file.
    pub secret: bool,
}

/// What holds where nothing is set.
#[derive(Debug, Clone, Copy)]
pub enum Usual {
    /// The value, as one would write it.
    Value(&'static str),
    /// One in development, the other in production.
    Either(&'static str, &'static str),
    /// No value; in words, what happens then.
    Unset(&'static str),
}

/// A setting whose value is a `T`.
pub struct Setting<T: 'static> {
    pub info: Info,
    pub parse: fn(&OsStr) -> Result<T, Wrong>,
}

/// Whether the environment and the file may have this name.
pub fn is_known(name: &str) -> bool {
    named(name).is_some()
}

/// The setting of this name, or the secret whose file it names.
pub fn named(name: &str) -> Option<&'static Info> {
    TABLE
        .iter()
        .copied()
        .find(|info| info.name == name || info.secret && name.strip_suffix(FILE) == Some(info.name))
}

/// What a setting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Server,
    Conversions,
    Engine,
    Storage,
    Access,
    Redis,
    Watching,
}

impl Group {
    /// In the order of the table.
    pub const ALL: [Group; 7] = [
        Group::Server,
        Group::Conversions,
        Group::Engine,
        Group::Storage,
        Group::Access,
        Group::Redis,
        Group::Watching,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Group::Server => "Server",
            Group::Conversions => "Conversions",
            Group::Engine => "Engine",
            Group::Storage => "Results",
            Group::Access => "Access",
            Group::Redis => "Redis",
            Group::Watching => "Logs and traces",
        }
    }
}

impl Usual {
    /// The value that holds, if there is one.
    pub fn value(self, environment: Environment) -> Option<&'static str> {
        match (self, environment) {
            (Usual::Value(text) | Usual::Either(text, _), Environment::Development)
            | (Usual::Value(text) | Usual::Either(_, text), Environment::Production) => Some(text),
            (Usual::Unset(_), _) => None,
        }
    }
}

macro_rules! settings {
    ($($(#[$attribute:ident])? $name:ident: $type:ty {
        group: $group:ident,
        $(alias: $alias:literal,)?
        $(option: $option:expr,)?
        takes: $takes:expr,
        usual: $usual:expr,
        help: $help:literal,
        parse: $parse:expr,
    })*) => {
        $(pub static $name: Setting<$type> = Setting {
            info: Info {
                name: stringify!($name),
                alias: settings!(@optional $($alias)?),
                option: settings!(@optional $($option)?),
                group: Group::$group,
                takes: $takes,
                usual: $usual,
                help: $help,
                secret: settings!(@secret $($attribute)?),
            },
            parse: $parse,
        };)*

        /// Every setting, in the order in which they are listed to people.
        pub static TABLE: &[&Info] = &[$(&$name.info),*];
    };
    (@optional) => { None };
    (@optional $value:expr) => { Some($value) };
    (@secret) => { false };
    (@secret secret) => { true };
}

use Usual::{Either, Unset, Value};

settings! {
    APP_ENV: Environment {
        group: Server,
        takes: "development or production",
        usual: Value("development"),
        help: "what the other defaults are made for",
        parse: |value| values::choice(value, &[
            ("development", Environment::Development),
            ("production", Environment::Production),
        ]),
    }
    BIND_ADDRESS: SocketAddr {
        group: Server,
        takes: ADDRESS,
        usual: Either("127.0.0.1:5000", "0.0.0.0:5000"),
        help: "where to listen; 0.0.0.0 or [::] are all addresses of the machine",
        parse: values::address,
    }
    METRICS_ADDRESS: SocketAddr {
        group: Server,
        takes: ADDRESS,
        usual: Unset("on BIND_ADDRESS"),
        help: "where to serve /metrics, apart from everything else; probes are answered there, too",
        parse: values::address,
    }
    MAX_FILE_SIZE: u64 {
        group: Server,
        takes: SIZE,
        usual: Value("100M"),
        help: "how large a request's body may be, in bytes or like 100M",
        parse: |value| values::size(value, 1),
    }
    MAX_UPLOADS_SIZE: u64 {
        group: Server,
        takes: SIZE,
        usual: Unset("32 × MAX_FILE_SIZE"),
        help: "how large all unfinished uploads together may be, in bytes or like 4G; 2 × MAX_FILE_SIZE at least, as one client may have as much as it leaves free for others",
        parse: |value| values::size(value, 1),
    }
    READ_TIMEOUT: Duration {
        group: Server,
        takes: values::SECONDS,
        usual: Value("30"),
        help: "seconds that a client may take for the headers, and may wait within a body; of a body that came fast, up to four times as long",
        parse: values::seconds,
    }
    MAX_CONNECTIONS: usize {
        group: Server,
        takes: "a number from 1 to 100000",
        usual: Value("1024"),
        help: "connections at a time",
        parse: |value| values::number(value, 1..=100_000),
    }
    SHUTDOWN_DELAY: Duration {
        group: Server,
        takes: values::SECONDS_OR_NONE,
        usual: Either("0", "5"),
        help: "seconds after the signal to stop in which requests are still taken, so that load balancers notice",
        parse: values::seconds_or_none,
    }
    SHUTDOWN_GRACE: Duration {
        group: Server,
        takes: values::SECONDS_OR_NONE,
        usual: Value("60"),
        help: "seconds that running conversions then have to finish",
        parse: values::seconds_or_none,
    }
    WORKERS: usize {
        group: Conversions,
        alias: "GUNICORN_WORKERS",
        option: ("--jobs", "N"),
        // To `convert`, 0 is one for each processor.
        takes: "a number from 1 to 256",
        usual: Value("2"),
        help: "conversions at a time",
        parse: |value| values::number(value, 0..=256),
    }
    QUEUE_LIMIT: usize {
        group: Conversions,
        takes: "a number from 0 to 100000",
        usual: Unset("4 × WORKERS"),
        help: "conversions that may wait; further ones are refused",
        parse: |value| values::number(value, 0..=100_000),
    }
    CONVERSION_TIMEOUT: Duration {
        group: Conversions,
        option: ("--timeout", "S"),
        takes: values::SECONDS,
        usual: Value("600"),
        help: "seconds that one conversion may take, its waiting included",
        parse: values::seconds,
    }
    BLENDER_PYTHON: PathBuf {
        group: Engine,
        option: ("--blender-python", "FILE"),
        takes: "the name of a file",
        usual: Unset("what `meshgate engine install` made"),
        help: "the Python 3.11 with bpy to use",
        parse: values::path,
    }
    BLENDER_BIN: PathBuf {
        group: Engine,
        option: ("--blender-bin", "FILE"),
        takes: "the name of a file",
        usual: Unset("none"),
        help: "the Blender 5 to use instead of a Python with bpy",
        parse: values::path,
    }
    DATA_DIR: PathBuf {
        group: Engine,
        option: ("--data-dir", "DIR"),
        takes: "the name of a folder",
        usual: Unset("the user's cache folder"),
        help: "where conversions work on disk, and results are kept",
        parse: values::path,
    }
    SANDBOX: SandboxMode {
        group: Engine,
        option: ("--sandbox", "auto|require|off"),
        takes: "auto, require or off",
        usual: Either("auto", "require"),
        help: "confine conversions as far as the machine can (auto), or refuse to start without (require), or not (off)",
        parse: |value| values::choice(value, &[
            ("auto", SandboxMode::Auto),
            ("require", SandboxMode::Require),
            ("off", SandboxMode::Off),
        ]),
    }
    WORKER_MEMORY_LIMIT: u64 {
        group: Engine,
        option: ("--worker-memory-limit", "SIZE"),
        takes: "a number of bytes, or one like 4G, from 1536M on",
        usual: Value("4G"),
        help: "memory that one conversion may ask the system for, in bytes or like 4G; at least 1536M, as Blender alone asks for 1.3 GB. It uses about half of what it asks for",
        parse: |value| values::size(value, LEAST_MEMORY),
    }
    WORKER_MAX_REQUESTS: u64 {
        group: Engine,
        option: ("--worker-max-requests", "N"),
        takes: "a number above 0",
        usual: Value("1000"),
        help: "conversions after which Blender is started afresh",
        parse: |value| values::number(value, 1..=u64::MAX),
    }
    MAX_UNPACKED_SIZE: u64 {
        group: Engine,
        option: ("--max-unpacked-size", "SIZE"),
        takes: SIZE,
        usual: Value("1G"),
        help: "how large a model may be once unpacked, and a result in all, in bytes or like 512M or 4G",
        parse: |value| values::size(value, 1),
    }
    STORAGE_URL: Url {
        group: Storage,
        takes: "a URL like file:///srv/meshgate, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix",
        usual: Unset("a folder below DATA_DIR"),
        help: "where results and reports are kept: file:///FOLDER, s3://, gs:// or az://BUCKET/PREFIX",
        parse: values::store,
    }
    CONVERSION_CACHE_DIR: PathBuf {
        group: Storage,
        takes: "the name of a folder",
        usual: Unset("as STORAGE_URL says"),
        help: "the folder in which results and reports are kept, instead of STORAGE_URL",
        parse: values::path,
    }
    RESULT_TTL: Duration {
        group: Storage,
        takes: values::LIFETIME,
        usual: Value("86400"),
        help: "seconds that results and reports are kept",
        parse: values::lifetime,
    }
    DATA_MAX_SIZE: u64 {
        group: Storage,
        takes: SIZE,
        usual: Value("10G"),
        help: "how much is kept of results, reports and entries together, in bytes or like 10G; beyond it, what was not used for the longest time goes",
        parse: |value| values::size(value, 1),
    }
    CACHE: bool {
        group: Storage,
        takes: values::SWITCH,
        usual: Value("on"),
        help: "whether a conversion that was carried out before is answered with its result",
        parse: values::switch,
    }
    CACHE_DURATION: Duration {
        group: Storage,
        takes: values::LIFETIME,
        usual: Value("3600"),
        help: "seconds for which such a result is found again; RESULT_TTL where that is less",
        parse: values::lifetime,
    }
    CACHE_MAX_SIZE: u64 {
        group: Storage,
        takes: SIZE,
        usual: Value("5G"),
        help: "how much of them a process without Redis remembers, in bytes or like 5G; beyond it, what was not used for the longest time goes, and a larger one is not remembered",
        parse: |value| values::size(value, 1),
    }
    PRESIGN_RESULTS: bool {
        group: Storage,
        takes: values::SWITCH,
        usual: Value("false"),
        help: "send clients to the bucket itself for large results (s3:// and gs:// only)",
        parse: values::switch,
    }
    TRUSTED_PROXIES: Vec<IpNet> {
        group: Access,
        takes: "addresses and networks like 10.0.0.0/8, with commas between them",
        usual: Unset("none"),
        help: "whose X-Forwarded-For is believed: addresses and networks, with commas between them",
        parse: values::networks,
    }
    CORS_ORIGINS: Vec<String> {
        group: Access,
        takes: "origins like https://example.org, with commas between them, or a single *",
        usual: Unset("none"),
        help: "pages of which sites may call from a browser: origins like https://example.org, or * for all",
        parse: values::origins,
    }
    #[secret]
    API_KEYS: Vec<ApiKey> {
        group: Access,
        takes: "NAME:KEY or NAME@REQUESTS:KEY pairs, with commas or line ends between them",
        usual: Unset("everybody may convert"),
        help: "who may convert: NAME:KEY pairs, keys of 16 characters or more, with commas or line ends between them; NAME@REQUESTS:KEY has a limit of its own instead of RATE_LIMIT_REQUESTS",
        parse: values::api_keys,
    }
    CACHE_SCOPE: CacheScope {
        group: Access,
        takes: "key or shared",
        usual: Unset("key with API_KEYS, else shared"),
        help: "who shares cached results and reports: each API key has its own (key), or all clients have the same (shared)",
        parse: |value| values::choice(value, &[("key", CacheScope::Key), ("shared", CacheScope::Shared)]),
    }
    RATE_LIMIT_REQUESTS: u32 {
        group: Access,
        takes: values::REQUESTS,
        usual: Either("0", "10"),
        help: "conversions that one client may ask for within RATE_LIMIT_WINDOW: one API key, else one address (one /64 of IPv6); 0 is as many as it likes",
        parse: values::requests,
    }
    RATE_LIMIT_WINDOW: Duration {
        group: Access,
        takes: "a whole number of seconds from 1 to 86400",
        usual: Value("60"),
        help: "seconds within which these are counted",
        parse: |value| values::number(value, 1..=86_400).map(Duration::from_secs),
    }
    #[secret]
    REDIS_URL: Secret {
        group: Redis,
        takes: values::REDIS_URL,
        usual: Unset("none: each process is alone"),
        help: "the Redis that all processes share: redis://user:password@host:6379/0, rediss:// with TLS, or unix:///run/redis.sock",
        parse: values::redis_url,
    }
    REDIS_HOST: String {
        group: Redis,
        takes: values::REDIS_HOST,
        usual: Unset("none"),
        help: "the host of that Redis, instead of REDIS_URL",
        parse: values::redis_host,
    }
    REDIS_PORT: u16 {
        group: Redis,
        takes: "a number from 1 to 65535",
        usual: Value("6379"),
        help: "its port on REDIS_HOST",
        parse: |value| values::number(value, 1..=u16::MAX),
    }
    #[secret]
    REDIS_PASSWORD: Secret {
        group: Redis,
        takes: "a password",
        usual: Unset("none"),
        help: "the password, for REDIS_HOST or a REDIS_URL without one",
        parse: values::secret,
    }
    LOG_LEVEL: String {
        group: Watching,
        takes: "error, warn, info, debug, trace, off or a filter of tracing like info,hyper=debug",
        usual: Value("info"),
        help: "what is logged: error, warn, info, debug, trace, off or a filter of tracing like info,hyper=debug",
        parse: values::filter,
    }
    LOG_FORMAT: LogFormat {
        group: Watching,
        takes: "plain or json",
        usual: Either("plain", "json"),
        help: "lines for people (plain), or a JSON object each (json)",
        parse: |value| values::choice(value, &[("plain", LogFormat::Plain), ("json", LogFormat::Json)]),
    }
    LOG_FILE: PathBuf {
        group: Watching,
        takes: "the name of a file",
        usual: Unset("none"),
        help: "a file to log to, besides standard output; a new one each day: app.log is app.2026-01-31.log",
        parse: values::file_name,
    }
    LOG_FILES: usize {
        group: Watching,
        takes: "a number from 1 to 1000",
        usual: Value("7"),
        help: "how many of these files are kept; what is called otherwise is never removed",
        parse: |value| values::number(value, 1..=1000),
    }
    OTEL_EXPORTER_OTLP_ENDPOINT: String {
        group: Watching,
        takes: "a URL like http://collector:4317",
        usual: Unset("no traces"),
        help: "where to send OpenTelemetry traces by gRPC: a URL like http://collector:4317, or https:// where that has TLS; without a user, password or query",
        parse: values::receiver,
    }
}
