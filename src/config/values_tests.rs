use super::*;

fn of<T>(parse: impl Fn(&OsStr) -> Result<T, InvalidValue>) -> impl Fn(&str) -> Result<T, InvalidValue> {
    move |text| parse(OsStr::new(text))
}

#[test]
fn sizes_accept_the_same_units_as_containers() {
    let size = of(|text| size(text, 1));
    for (text, bytes) in [
        ("1", 1),
        ("4G", 4 << 30),
        (" 4g ", 4 << 30),
        ("512M", 512 << 20),
        ("2GiB", 2 << 30),
        ("2 GB", 2 << 30),
        ("3k", 3072),
        ("1T", 1 << 40),
        ("7b", 7),
    ] {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
    for text in ["", "0", "0G", "-1", "+1", "1.5G", "G", "4X", "4i", "4Gi G", "4Gbb", "99999999T", "2⁹"] {
        assert_eq!(size(text), Err(InvalidValue::Value), "{text}");
    }
}

#[test]
fn times_are_positive_or_at_least_zero() {
    assert_eq!(of(seconds)("0.5"), Ok(Duration::from_millis(500)));
    assert_eq!(of(seconds_or_none)("0"), Ok(Duration::ZERO));
    for text in ["0", "-1", "nan", "inf", "1e300", "1000001", "soon", "1e-30"] {
        assert_eq!(of(seconds)(text), Err(InvalidValue::Value), "{text}");
    }
    for text in ["-1", "nan", "1e300", "", "soon"] {
        assert_eq!(of(seconds_or_none)(text), Err(InvalidValue::Value), "{text}");
    }
}

#[test]
fn a_network_may_be_a_single_address() {
    let expected: Vec<IpNet> =
        ["10.0.0.0/8", "192.168.0.1/32", "fd00::/8"].map(|net| net.parse().unwrap()).into();
    assert_eq!(of(networks)("10.1.2.3/8, 192.168.0.1,fd00::/8,"), Ok(expected));
    assert_eq!(of(networks)("10.0.0.0/8,proxy"), Err(InvalidValue::Part("proxy".to_owned())));
    assert_eq!(of(networks)("10.0.0.0/33"), Err(InvalidValue::Part("10.0.0.0/33".to_owned())));
}

#[test]
fn mapped_ipv4_networks_become_ipv4_networks() {
    let expected: Vec<IpNet> =
        ["127.0.0.0/8", "10.0.0.1/32", "0.0.0.0/0"].map(|net| net.parse().unwrap()).into();
    assert_eq!(of(networks)("::ffff:127.0.0.0/104,::ffff:10.0.0.1,::ffff:0:0/96"), Ok(expected));
    let wider: Vec<IpNet> = ["::/0", "::fffe:0:0/95"].map(|net| net.parse().unwrap()).into();
    assert_eq!(of(networks)("::/0,::ffff:0:0/95"), Ok(wider));
}

#[test]
fn store_urls_with_secrets_are_refused_without_quoting_them() {
    for right in ["file:///srv/a@b", "s3://bucket/a/b", "az://container"] {
        assert_eq!(of(store)(right).unwrap().as_str(), right);
    }
    for wrong in [
        "s3://bucket/p?secret=hunter22",
        "s3://bucket#hunter22",
        "s3://hunter22@bucket",
        "s3://me:hunter22@bucket",
        "s3://me:hunter/22@bucket",
        "https://me.blob.core.windows.net/c?sv=1&sig=hunter22",
        "AccountName=me;AccountKey=hunter22",
    ] {
        match of(store)(wrong) {
            Err(InvalidValue::Because(why)) => assert!(!why.contains("hunter"), "{why}"),
            Err(InvalidValue::Value) => assert!(may_hold_secret(wrong), "{wrong}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(of(store)("/srv/meshgate"), Err(InvalidValue::Value));
}

#[test]
fn origins_are_accepted_as_browsers_send_them() {
    let origins = of(origins);
    assert_eq!(origins("*"), Ok(vec!["*".to_owned()]));
    let two = "https://example.org, http://[::1]:3000";
    assert_eq!(origins(two).unwrap(), ["https://example.org", "http://[::1]:3000"]);
    for wrong in [
        "example.org",
        "https://",
        "https://example.org/",
        "https://Example.org",
        "https://a@b",
        "ftp://a",
        "null",
        "https://a:",
        "https://a:0",
        "https://a:70000",
        "https://[zz]",
        "https://:80",
        "https://*.example.org",
    ] {
        assert_eq!(origins(wrong), Err(InvalidValue::Part(wrong.to_owned())), "{wrong}");
    }
    assert_eq!(origins("https://a, *"), Err(InvalidValue::Part("*".to_owned())));
}

#[test]
fn a_url_needs_a_scheme_and_a_host() {
    for right in ["http://collector:4317", "https://otlp.example.org/v1", "http://[::1]:4317"] {
        assert_eq!(of(receiver)(right).as_deref(), Ok(right));
    }
    for wrong in
        ["collector:4317", "grpc://a:1", "http://", "http:///a", "http://a b", "http://a:x", "http://a/<>"]
    {
        assert_eq!(of(receiver)(wrong), Err(InvalidValue::Value), "{wrong}");
    }
    for wrong in [
        "http://me:hunter22@collector:4317",
        "http://hunter22@a",
        "https://a/?key=hunter22",
        "https://a#hunter22",
    ] {
        let Err(InvalidValue::Because(why)) = of(receiver)(wrong) else { panic!("{wrong}") };
        assert!(why.contains("OTEL_EXPORTER_OTLP_HEADERS") && !why.contains("hunter"), "{why}");
    }
}

#[test]
fn a_filter_that_would_log_nothing_is_refused() {
    for right in
        ["info", "WARN", "off", "info,hyper=debug", "meshgate", "meshgate::http=trace", "[convert]=debug"]
    {
        assert_eq!(of(filter)(right).as_deref(), Ok(right));
    }
    assert_eq!(of(filter)("inof"), Err(InvalidValue::Part("inof".to_owned())));
    assert_eq!(of(filter)("info,warning"), Err(InvalidValue::Part("warning".to_owned())));
    assert_eq!(of(filter)("meshgate=loud"), Err(InvalidValue::Value));
}

#[test]
fn api_keys_are_stored_as_digests() {
    let keys = of(api_keys)("ci:0123456789abcdef,\nweb.1:a:key:with:colons:in:it\n").unwrap();
    assert_eq!(keys[0].digest, *blake3::hash(b"0123456789abcdef").as_bytes());
    assert_eq!(keys[1].digest, *blake3::hash(b"a:key:with:colons:in:it").as_bytes());
    assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["ci", "web.1"]);
}

#[test]
fn an_api_key_can_have_its_own_rate_limit() {
    let keys =
        of(api_keys)("ci@600:0123456789abcdef,web:x@y:key:with:colons:in:it,all@0:fedcba9876543210").unwrap();
    let limits: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.requests)).collect();
    assert_eq!(limits, [("ci", Some(600)), ("web", None), ("all", Some(0))]);
    assert_eq!(keys[0].digest, *blake3::hash(b"0123456789abcdef").as_bytes());
    assert_eq!(keys[1].digest, *blake3::hash(b"x@y:key:with:colons:in:it").as_bytes());
}

#[test]
fn errors_about_api_keys_do_not_quote_them() {
    const KEY: &str = "0123456789abcdef";
    for (text, expected) in [
        (KEY.to_owned(), "pair 1 has no colon"),
        (format!("ci:{KEY},web:short"), "the key of pair 2 has fewer than 16"),
        (format!("{KEY}:ci"), "the key of pair 1 has fewer than 16"),
        (format!(":{KEY}"), "the name of pair 1"),
        (format!("a b:{KEY}"), "the name of pair 1"),
        (format!("ci:{KEY} {KEY}"), "characters that a header cannot hold"),
        (format!("ci:{KEY},ci:x{KEY}"), "pairs 1 and 2 have the same name"),
        (format!("ci:{KEY},web:{KEY}"), "pairs 1 and 2 have the same key"),
        (" , ".to_owned(), "it is empty"),
        (format!("ci@:{KEY}"), "the limit of pair 1"),
        (format!("ci:{KEY},web@many:x{KEY}"), "the limit of pair 2"),
        (format!("ci@100001:{KEY}"), "the limit of pair 1"),
        (format!("ci@1@2:{KEY}"), "the limit of pair 1"),
        (format!("{KEY}@5:ci"), "the key of pair 1 has fewer than 16"),
        (format!("ci@1:{KEY},ci@2:x{KEY}"), "pairs 1 and 2 have the same name"),
    ] {
        let Err(InvalidValue::Because(why)) = of(api_keys)(&text) else { panic!("{text} was accepted") };
        assert!(why.contains(expected) && !why.contains(KEY), "{text}: {why}");
    }
}

#[test]
fn every_kind_of_redis_url_is_accepted() {
    for text in [
        "redis://cache",
        "redis://10.0.0.1:7000/3",
        "redis://[fd00::1]:6379",
        " redis://:s%23cret@cache ",
        "rediss://user:secret@cache:6380/1",
        "unix:///run/redis.sock?db=1&user=a&pass=b",
    ] {
        assert_eq!(redis_url(OsStr::new(text)).unwrap().expose(), text.trim(), "{text}");
    }
}

#[test]
fn invalid_redis_urls_are_refused() {
    for text in [
        "cache:6379",
        "http://cache",
        "redis://",
        "redis://cache/one",
        "redis://cache/-1",
        "redis://cache:port",
        "redis://:pa#ss@cache",
        "redis://0.0.0.0",
        "unix://",
    ] {
        assert_eq!(redis_url(OsStr::new(text)), Err(InvalidValue::Value), "{text}");
    }
    for (text, expected) in [
        ("redis+sentinel://:hunter22@a:26379,b:26379/mymaster", "Sentinel is not supported"),
        ("rediss-sentinel://a:26379", "Sentinel is not supported"),
        ("redis+cluster://:hunter22@a:6379", "clusters are not supported"),
        ("redis-cluster://a", "clusters are not supported"),
        ("redis://:hunter22@a:6379,b:6379/0", "several servers"),
    ] {
        let Err(InvalidValue::Because(why)) = redis_url(OsStr::new(text)) else { panic!("{text}") };
        assert!(why.contains(expected) && !why.contains("hunter"), "{text}: {why}");
    }
    let insecure = redis_url(OsStr::new("rediss://:secret@cache#insecure"));
    assert!(matches!(insecure, Err(InvalidValue::Because(why)) if !why.contains("cache")));
}

#[test]
fn only_host_names_and_addresses_are_accepted() {
    for (text, expected) in [("cache", "cache"), ("10.0.0.1", "10.0.0.1"), ("fd00::1", "[fd00::1]")] {
        assert_eq!(redis_host(OsStr::new(text)).as_deref(), Ok(expected));
    }
    for text in ["cache:6379", "redis://cache", "", "a b", "user@cache", "0.0.0.0"] {
        assert_eq!(redis_host(OsStr::new(text)), Err(InvalidValue::Value), "{text}");
    }
}
