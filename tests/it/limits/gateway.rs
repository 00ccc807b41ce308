//! Rate limits over HTTP: the headers, and the identity of clients.

use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::gateway::raw::head;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, TRIANGLE, scrape};
use crate::redis::RedisServer;

/// A variable that disables the engine; conversions that need none still work.
const NO_ENGINE: (&str, &str) = ("BLENDER_PYTHON", "/bin/false");

/// A conversion that succeeds without an engine.
pub fn conversion(gateway: &Gateway) -> RequestBuilder {
    gateway.client.post(gateway.url("/v1/convert?output_format=gltf&filename=a.glb")).body(triangle())
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

/// A parameter of `RateLimit`.
fn rate_limit(answer: &Response, parameter: &str) -> u64 {
    let text = header(answer, "ratelimit").unwrap();
    let value = text.strip_prefix("\"default\";").unwrap().split(';').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        (name == parameter).then_some(value)
    });
    value.unwrap_or_else(|| panic!("no {parameter} in {text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_together_allow_exactly_the_limit() {
    let server = RedisServer::start();
    let start = || {
        let url = server.url();
        Gateway::start_cold(&[
            ("REDIS_URL", &url),
            ("RATE_LIMIT_REQUESTS", "30"),
            ("RATE_LIMIT_WINDOW", "3600"),
            NO_ENGINE,
        ])
    };
    let gateways = [start(), start()];
    let mut requests = JoinSet::new();
    for number in 0..100 {
        requests.spawn(conversion(&gateways[number % 2]).send());
    }
    let answers: Vec<Response> = requests.join_all().await.into_iter().map(Result::unwrap).collect();
    let (let_in, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == 200);
    assert_eq!(let_in.len(), 30);
    let mut remaining: Vec<u64> = let_in.iter().map(|answer| rate_limit(answer, "r")).collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (0..30).collect::<Vec<_>>());
    for answer in refused {
        assert_eq!(answer.status(), 429);
        assert_eq!(rate_limit(&answer, "r"), 0);
    }
    assert_eq!(server.keys().iter().filter(|key| key.starts_with("meshgate:limit:")).count(), 1);
    let mut limited = 0;
    for gateway in &gateways {
        let metrics = gateway.client.get(gateway.url("/metrics")).send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("\nmeshgate_backend_up{backend=\"redis\"} 1\n"), "{metrics}");
        assert!(
            metrics.contains("\nmeshgate_redis_command_duration_seconds_count{outcome=\"ok\"} "),
            "{metrics}"
        );
        let line = metrics.lines().find_map(|line| line.strip_prefix("meshgate_rate_limited_total "));
        limited += line.unwrap().parse::<u64>().unwrap();
    }
    assert_eq!(limited, 70);
}

#[tokio::test]
async fn responses_show_the_remaining_requests() {
    let gateway =
        Gateway::start_cold(&[("RATE_LIMIT_REQUESTS", "3"), ("RATE_LIMIT_WINDOW", "3600"), NO_ENGINE]);
    let client = &gateway.client;
    // Refused requests do not count.
    let wrong = client.post(gateway.url("/convert")).body(TRIANGLE);
    let in_vain = client.post(gateway.url("/convert?output_format=fbx&filename=a.obj")).body(TRIANGLE);
    for (request, status, remaining) in [
        (conversion(&gateway), 200, 2),
        (wrong.try_clone().unwrap(), 400, 2),
        (in_vain, 503, 2),
        (conversion(&gateway), 200, 1),
        (conversion(&gateway), 200, 0),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(header(&answer, "ratelimit-policy"), Some("\"default\";q=3;w=3600"));
        assert_eq!(rate_limit(&answer, "r"), remaining);
        assert!((1..=3600).contains(&rate_limit(&answer, "t")));
        assert_eq!(header(&answer, "retry-after").is_some(), status == 503);
    }
    for request in [conversion(&gateway), wrong] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 429);
        assert_eq!(header(&answer, "content-type"), Some("application/problem+json"));
        assert_eq!(header(&answer, "ratelimit-policy"), Some("\"default\";q=3;w=3600"));
        assert_eq!(rate_limit(&answer, "r"), 0);
        // Both headers give the same time.
        assert_eq!(header(&answer, "retry-after").unwrap().parse::<u64>().unwrap(), rate_limit(&answer, "t"));
        let id = header(&answer, "x-request-id").unwrap().to_owned();
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&"rate_limited".into(), &429.into()));
        assert_eq!(problem["detail"], "more than 3 conversions were asked for in 3600 s");
        assert_eq!(problem["request_id"], id);
    }
    // Requests that only read do not count, and neither do methods that the path does not allow.
    for path in [
        "/v1/formats",
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/openapi.json",
        "/v1/reports/1",
        "/convert",
    ] {
        let answer = client.get(gateway.url(path)).send().await.unwrap();
        assert_ne!(answer.status(), 429, "{path}");
        assert_eq!(
            (header(&answer, "ratelimit"), header(&answer, "ratelimit-policy")),
            (None, None),
            "{path}"
        );
    }
}

#[tokio::test]
async fn cached_results_do_not_count_against_the_limit() {
    let gateway = Gateway::start_cold(&[("RATE_LIMIT_REQUESTS", "1")]);
    assert_eq!(conversion(&gateway).send().await.unwrap().status(), 200);
    // The result is stored after the response; until then, equal requests join its flight.
    let mut all = JoinSet::new();
    for _ in 0..12 {
        all.spawn(conversion(&gateway).send());
    }
    for answer in all.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        // Some requests are coalesced while the result is being stored.
        assert_ne!(header(&answer, "meshgate-cache"), Some("miss"));
        assert_eq!(rate_limit(&answer, "r"), 0);
    }
    for request in
        [conversion(&gateway).header("cache-control", "no-cache"), conversion(&gateway).body("glTF")]
    {
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), rate_limit(&answer, "r")), (429, 0));
        assert!(header(&answer, "retry-after").is_some());
    }
    let text = scrape(&gateway).await;
    assert!(text.contains("meshgate_rate_limited_total 2"), "{text}");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_before_reading() {
    let gateway = Gateway::start_cold(&[("RATE_LIMIT_REQUESTS", "1"), NO_ENGINE]);
    assert_eq!(conversion(&gateway).send().await.unwrap().status(), 200);
    let mut connection = gateway.raw();
    // A small body that has arrived is drained, so that the connection can be reused.
    let answer = connection.send(head("output_format=glb", 4) + "text").answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (429, None));
    // A large body is announced, and never sent.
    connection
        .send("POST /convert?output_format=glb HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n");
    let answer = connection.answer().unwrap();
    assert_eq!(answer.problem().1, "rate_limited");
    assert_eq!((answer.status, answer.header("connection")), (429, Some("close")));
}

#[tokio::test]
async fn only_production_has_a_default_limit() {
    let gateway = Gateway::start_cold(&[NO_ENGINE]);
    for _ in 0..20 {
        let answer = conversion(&gateway).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, "ratelimit")), (200, None));
    }
    let ready: Value = gateway.json("/readyz").await;
    assert_eq!(ready["checks"].get("redis"), None);
    let metrics = gateway.client.get(gateway.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(!metrics.contains("backend=\"redis\""), "{metrics}");

    let gateway = Gateway::start_cold(&[("APP_ENV", "production"), NO_ENGINE]);
    let answer = conversion(&gateway).send().await.unwrap();
    assert_eq!(header(&answer, "ratelimit-policy"), Some("\"default\";q=10;w=60"));
}

#[tokio::test]
async fn limits_apply_per_ipv4_address_or_ipv6_network() {
    let limit = [("RATE_LIMIT_REQUESTS", "1"), ("RATE_LIMIT_WINDOW", "3600"), NO_ENGINE];
    let status = async |gateway: &Gateway, forwarded: &str| {
        conversion(gateway).header("x-forwarded-for", forwarded).send().await.unwrap().status().as_u16()
    };
    let gateway =
        Gateway::start_cold(&[limit.as_slice(), &[("TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.1")]].concat());
    for (forwarded, expected) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        // Addresses that the client claims stand left of the address that the proxy added.
        ("192.0.2.3, 192.0.2.2", 429),
        ("192.0.2.1, 10.0.0.1", 429),
        ("::ffff:192.0.2.1", 429),
        ("2001:db8:1:2::1", 200),
        ("2001:db8:1:2:ffff::1", 429),
        ("[2001:db8:1:2::77]:4711", 429),
        ("2001:db8:1:3::1", 200),
    ] {
        assert_eq!(status(&gateway, forwarded).await, expected, "{forwarded}");
    }
    // Without trusted proxies, the header is ignored.
    let gateway = Gateway::start_cold(&limit);
    for (forwarded, expected) in [("192.0.2.1", 200), ("192.0.2.2", 429), ("192.0.2.3", 429)] {
        assert_eq!(status(&gateway, forwarded).await, expected, "{forwarded}");
    }
}

#[tokio::test]
async fn each_key_has_its_own_limit() {
    let server = RedisServer::start();
    let gateway = Gateway::start_cold(&[
        ("REDIS_URL", &server.url()),
        ("API_KEYS", "usual:usual-usual-usual,less@1:less-less-less-less,all@0:all-all-all-all-all"),
        ("RATE_LIMIT_REQUESTS", "2"),
        ("RATE_LIMIT_WINDOW", "3600"),
        NO_ENGINE,
    ]);
    for (key, statuses, policy) in [
        ("usual-usual-usual", [200, 200, 429, 429], Some("\"default\";q=2;w=3600")),
        ("less-less-less-less", [200, 429, 429, 429], Some("\"default\";q=1;w=3600")),
        ("all-all-all-all-all", [200, 200, 200, 200], None),
        ("whose-whose-whose", [401, 401, 401, 401], None),
    ] {
        for status in statuses {
            let answer = conversion(&gateway).bearer_auth(key).send().await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), header(&answer, "ratelimit-policy")),
                (status, policy),
                "{key}"
            );
        }
    }
    let keys = server.keys().into_iter().filter(|key| key.contains("limit"));
    assert_eq!(keys.collect::<Vec<_>>(), ["meshgate:limit:key:less", "meshgate:limit:key:usual"]);
}

#[tokio::test]
async fn allowed_origins_can_read_the_limit_headers() {
    let gateway = Gateway::start_cold(&[
        ("RATE_LIMIT_REQUESTS", "1"),
        ("CORS_ORIGINS", "https://a.example"),
        NO_ENGINE,
    ]);
    for status in [200, 429] {
        let answer = conversion(&gateway).header("origin", "https://a.example").send().await.unwrap();
        assert_eq!(answer.status(), status);
        let exposed = header(&answer, "access-control-expose-headers").unwrap();
        for name in ["ratelimit", "ratelimit-policy", "retry-after"] {
            assert!(exposed.split(',').any(|exposed| exposed == name), "{name} is not in {exposed}");
        }
        // A CORS preflight does not count.
        let question = gateway.client.request(reqwest::Method::OPTIONS, gateway.url("/convert"));
        let question =
            question.header("origin", "https://a.example").header("access-control-request-method", "POST");
        assert_eq!(question.send().await.unwrap().status(), 200);
    }
}
