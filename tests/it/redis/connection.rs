//! The connection to Redis, without a gateway.

use std::sync::LazyLock;
use std::time::Duration;

use meshgate::redis::{ANSWER_WITHIN, Error};
use redis::{Commands, Script, cmd};

use super::{Proxy, RedisServer, connect, until_up};

static ADD: LazyLock<Script> = LazyLock::new(|| Script::new("return ARGV[1] + redis.call('INCR', KEYS[1])"));

#[tokio::test]
async fn an_available_redis_is_used_at_once() {
    let server = RedisServer::start();
    let redis = connect(&server.url()).await;
    assert!(redis.health().up);
    let set: String =
        redis.run(cmd("SET").arg("meshgate:a").arg(1).arg("PX").arg(60_000).take()).await.unwrap();
    assert_eq!(set, "OK");
    assert_eq!(server.connection().get::<_, u32>("meshgate:a").unwrap(), 1);
    let mut script = ADD.key("meshgate:a");
    script.arg(40);
    let sum: u32 = redis.run_script(script).await.unwrap();
    assert_eq!(sum, 42);
}

#[tokio::test]
async fn a_restarted_redis_is_used_again() {
    let mut server = RedisServer::start();
    let redis = connect(&server.url()).await;
    for _ in 0..3 {
        server.kill();
        until_up(&redis, false).await;
        let health = redis.health();
        assert!(health.error.is_some(), "{health:?}");
        assert_eq!(redis.run::<String>(cmd("PING")).await, Err(Error::Unavailable));
        server.restart();
        until_up(&redis, true).await;
        assert_eq!(redis.run::<String>(cmd("PING")).await.unwrap(), "PONG");
        assert_eq!(redis.health().error, None);
    }
}

#[tokio::test]
async fn only_the_first_commands_wait_for_a_silent_redis() {
    let server = RedisServer::start();
    let redis = connect(&server.url()).await;
    server.stop();
    // The connection is probed meanwhile, too, and a probe may notice first.
    let mut late = 0;
    while redis.run::<String>(cmd("PING")).await == Err(Error::TimedOut(ANSWER_WITHIN)) {
        late += 1;
    }
    assert!((1..=3).contains(&late), "{late}");
    // Commands are no longer sent, so they fail at once, even on a slow machine.
    for _ in 0..100 {
        assert_eq!(redis.run::<String>(cmd("PING")).await, Err(Error::Unavailable));
    }
    server.resume();
    until_up(&redis, true).await;
    assert_eq!(redis.run::<String>(cmd("PING")).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_silent_redis_is_detected_without_a_request() {
    let server = RedisServer::start();
    let redis = connect(&server.url()).await;
    server.stop();
    until_up(&redis, false).await;
    assert_eq!(redis.health().error, Some(Error::TimedOut(ANSWER_WITHIN).to_string()));
    server.resume();
    until_up(&redis, true).await;
}

#[tokio::test]
async fn a_slow_redis_is_unavailable_until_it_is_fast() {
    let server = RedisServer::start();
    let proxy = Proxy::to(&server);
    let redis = connect(&proxy.url()).await;
    assert!(redis.health().up);
    assert_eq!(proxy.connections(), 1);
    proxy.delay(ANSWER_WITHIN / 5);
    assert_eq!(redis.run::<String>(cmd("PING")).await.unwrap(), "PONG");
    proxy.delay(4 * ANSWER_WITHIN);
    assert!(matches!(redis.run::<String>(cmd("PING")).await, Err(Error::TimedOut(_))));
    until_up(&redis, false).await;
    proxy.delay(Duration::ZERO);
    until_up(&redis, true).await;
    // It reconnects, rather than waiting for late answers.
    assert!(proxy.connections() > 1);
    assert_eq!(redis.run::<String>(cmd("ECHO").arg("mine").take()).await.unwrap(), "mine");
}

#[tokio::test]
async fn a_redis_that_starts_later_is_used() {
    let mut server = RedisServer::start();
    server.kill();
    let redis = connect(&server.url()).await;
    assert!(!redis.health().up);
    server.restart();
    until_up(&redis, true).await;
}

#[tokio::test]
async fn a_wrong_password_is_reported_until_it_is_right() {
    let server = RedisServer::start();
    let mut look = server.connection();
    let require = |password: &str| {
        let mut command = cmd("CONFIG");
        command.arg("SET").arg("requirepass").arg(password);
        command
    };
    require("right").exec(&mut look).unwrap();
    let none = connect(&server.url()).await;
    assert_eq!(none.health().error.unwrap(), "it asks for a password");
    let wrong = connect(&format!("{}?pass=wrong", server.url())).await;
    assert_eq!(wrong.health().error.unwrap(), "it does not let this user in with this password");
    let right = connect(&format!("{}?pass=right", server.url())).await;
    assert!(right.health().up);
    // The other connections recover by themselves once their credentials are accepted.
    require("wrong").exec(&mut look).unwrap();
    until_up(&wrong, true).await;
    require("").exec(&mut look).unwrap();
    until_up(&none, true).await;
}

#[tokio::test]
async fn the_configured_user_and_database_are_used() {
    let server = RedisServer::start();
    let mut look = server.connection();
    // The rights that docs/OPERATIONS.md lists.
    cmd("ACL")
        .arg(&[
            "SETUSER",
            "gate",
            "on",
            ">secret",
            "~meshgate:*",
            "resetchannels",
            "+@all",
            "-@admin",
            "-@dangerous",
        ])
        .exec(&mut look)
        .unwrap();
    let redis = connect(&format!("{}?user=gate&pass=secret&db=3", server.url())).await;
    assert!(redis.health().up, "{:?}", redis.health());
    redis.run::<()>(cmd("SET").arg("meshgate:a").arg(1).arg("EX").arg(9).take()).await.unwrap();
    assert!(!server.keys().contains(&"meshgate:a".to_owned()));
    cmd("SELECT").arg(3).exec(&mut look).unwrap();
    assert_eq!(look.get::<_, u32>("meshgate:a").unwrap(), 1);
    // A refused command does not make Redis unavailable.
    let elsewhere = redis.run::<()>(cmd("GET").arg("meshgate:a").arg("too many").take()).await;
    assert!(matches!(elsewhere, Err(Error::Refused(_))), "{elsewhere:?}");
    assert!(redis.health().up);
    // A user without the right to write counts as unavailable.
    cmd("ACL").arg(&["SETUSER", "gate", "-@write"]).exec(&mut look).unwrap();
    let mute = connect(&format!("{}?user=gate&pass=secret", server.url())).await;
    assert!(!mute.health().up);
}

#[tokio::test]
async fn a_redis_that_refuses_writes_is_unavailable() {
    let server = RedisServer::start();
    let redis = connect(&server.url()).await;
    // Redis cannot evict anything, so it refuses writes.
    let mut look = server.connection();
    let most = |bytes: &str| {
        let mut command = cmd("CONFIG");
        command.arg("SET").arg("maxmemory").arg(bytes);
        command
    };
    most("1").exec(&mut look).unwrap();
    until_up(&redis, false).await;
    assert!(redis.health().error.unwrap().starts_with("OOM "), "{:?}", redis.health());
    most("0").exec(&mut look).unwrap();
    until_up(&redis, true).await;
    cmd("REPLICAOF").arg("127.0.0.1").arg("1").exec(&mut look).unwrap();
    until_up(&redis, false).await;
    assert!(redis.health().error.unwrap().starts_with("READONLY "), "{:?}", redis.health());
    cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut look).unwrap();
    until_up(&redis, true).await;
}

#[tokio::test]
async fn a_loading_redis_is_used_once_it_is_ready() {
    let mut server = RedisServer::start();
    let mut look = server.connection();
    let many: Vec<_> = (0..20_000).map(|number| (format!("other:{number}"), 1)).collect();
    look.mset::<_, _, ()>(&many).unwrap();
    cmd("SAVE").exec(&mut look).unwrap();
    server.kill();
    server.restart_with(&["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]);
    let redis = connect(&server.url()).await;
    assert!(redis.health().error.unwrap().starts_with("LOADING "), "{:?}", redis.health());
    cmd("CONFIG").arg("SET").arg("key-load-delay").arg(0).exec(&mut server.connection()).unwrap();
    until_up(&redis, true).await;
    assert_eq!(server.keys().len(), 20_001);
}
