//! The cache of one service: its responses, and the number of conversions that run.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    answered, cache_status, complete_files, conversion, conversions, header, model, stored, until_counted,
    until_known,
};
use crate::gateway::engine::motion;
use crate::gateway::raw::head;
use crate::gateway::{Gateway, LONG, TRIANGLE, report, until, until_no_folder_is_left};
use crate::redis::RedisServer;

/// Waits until the store has this many results.
fn until_stored(gateway: &Gateway, number: usize) {
    until("it is stored", || stored(gateway, "entries").len() == number);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_conversion_is_a_cache_hit() {
    let gateway = Gateway::start(&[("RATE_LIMIT_REQUESTS", "10"), ("RATE_LIMIT_WINDOW", "3600")]);
    let first = conversion(&gateway).send().await.unwrap();
    assert_eq!((first.status().as_u16(), cache_status(&first)), (200, "miss".to_owned()));
    let same = ["content-type", "content-disposition", "content-length", "etag", "link", "meshgate-losses"];
    let headers = same.map(|name| header(&first, name));
    assert!(headers.iter().all(|value| !value.is_empty()), "{headers:?}");
    let left = header(&first, "ratelimit");
    let content = first.bytes().await.unwrap();
    assert_eq!(headers[3], format!("\"{}\"", blake3::hash(&content).to_hex()));
    until_stored(&gateway, 1);
    for _ in 0..2 {
        let again = conversion(&gateway).send().await.unwrap();
        assert_eq!((again.status().as_u16(), cache_status(&again)), (200, "hit".to_owned()));
        assert_eq!(same.map(|name| header(&again, name)), headers);
        // A hit does not count against the rate limit.
        assert_eq!(header(&again, "ratelimit").split(";t=").next(), left.split(";t=").next());
        for name in ["receive", "queue", "convert", "check"] {
            assert!(header(&again, "server-timing").contains(name));
        }
        assert_eq!(again.bytes().await.unwrap(), content);
    }
    assert_eq!((conversions(&gateway).await, answered(&gateway, "hit").await), (1, 2));
    assert_eq!((answered(&gateway, "miss").await, answered(&gateway, "bypass").await), (1, 0));
    assert_eq!(super::count(&gateway, "meshgate_cache_bytes").await, content.len() as u64);
    until_no_folder_is_left(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matching_etag_gets_304() {
    let gateway = Gateway::start(&[]);
    let first = conversion(&gateway).send().await.unwrap();
    let tag = header(&first, "etag");
    // Shared caches do not store the result, and the client revalidates its own copy.
    assert_eq!(header(&first, "cache-control"), "private, no-cache");
    until_stored(&gateway, 1);
    let report = gateway.client.get(gateway.url(&report(&first))).send().await.unwrap();
    assert_eq!((report.status().as_u16(), header(&report, "cache-control").as_str()), (200, "no-store"));
    assert_eq!(header(&report, "content-type"), "application/json");
    for (fresh, expected) in [(false, "hit"), (true, "miss")] {
        let request = conversion(&gateway).header("if-none-match", format!("\"x\", W/{tag}"));
        let request = if fresh { request.header("cache-control", "no-cache") } else { request };
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), cache_status(&answer).as_str()), (304, expected));
        assert_eq!(header(&answer, "cache-control"), "private, no-cache");
        assert_eq!((header(&answer, "etag"), header(&answer, "content-type")), (tag.clone(), String::new()));
        assert!(header(&answer, "link").starts_with("</v1/reports/"));
        assert!(answer.bytes().await.unwrap().is_empty());
    }
    let other = conversion(&gateway).header("if-none-match", "\"x\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_cache_request_replaces_the_entry() {
    let gateway = Gateway::start(&[]);
    let first = conversion(&gateway).send().await.unwrap();
    until_stored(&gateway, 1);
    let fresh = conversion(&gateway).header("cache-control", "no-cache").send().await.unwrap();
    assert_eq!(cache_status(&fresh), "miss");
    assert_ne!(report(&first), report(&fresh));
    until("both reports are stored", || stored(&gateway, "reports").len() == 2);
    // The entry is stored after the report.
    gateway.until_says("/health", "responding", |_| true).await;
    let mut again = conversion(&gateway).send().await.unwrap();
    while report(&again) != report(&fresh) {
        assert_eq!((cache_status(&again).as_str(), report(&again)), ("hit", report(&first)));
        again = conversion(&gateway).send().await.unwrap();
    }
    assert_eq!((conversions(&gateway).await, answered(&gateway, "bypass").await), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn different_requests_are_different_conversions() {
    let gateway = Gateway::start(&[]);
    let form = |files: &[(&str, &str)]| {
        files.iter().fold(reqwest::multipart::Form::new(), |form, (name, content)| {
            let part = reqwest::multipart::Part::text((*content).to_owned()).file_name((*name).to_owned());
            form.part("file", part)
        })
    };
    let obj = format!("mtllib a.mtl\nusemtl m\n{TRIANGLE}");
    let mtl = "newmtl m\nmap_Kd skin.ppm\n";
    let skin = "P3 1 1 255 255 0 0\n";
    let send = async |query: &str, files: &[(&str, &str)]| {
        let url = gateway.url(&format!("/convert?output_format=ply{query}"));
        let answer = gateway.client.post(url).multipart(form(files)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        cache_status(&answer)
    };
    let files = [("a.obj", obj.as_str()), ("a.mtl", mtl), ("skin.ppm", skin)];
    let mut entries = 0;
    for (query, files) in [
        ("", files.to_vec()),
        ("&scale=2", files.to_vec()),
        ("&main=a.obj", files.to_vec()),
        ("", vec![files[0], files[1], ("other.ppm", skin)]),
        ("", vec![files[0], files[1], ("skin.ppm", "P3 1 1 255 0 0 255\n")]),
        ("", vec![("b.obj", obj.as_str()), files[1], files[2]]),
    ] {
        assert_eq!(send(query, &files).await, "miss", "{query} {files:?}");
        entries += 1;
        until_stored(&gateway, entries);
        let mut reversed = files.clone();
        reversed.reverse();
        assert_eq!(send(query, &reversed).await, "hit", "{query} {files:?}");
    }
    assert_eq!(conversions(&gateway).await, entries as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_conversions_in_flight_run_once() {
    let gateway = Gateway::start(&[]);
    let content = large();
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        requests.spawn(model(&gateway, &content).send());
    }
    let mut all: Vec<(String, blake3::Hash)> = Vec::new();
    for answer in requests.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        all.push((cache_status(&answer), blake3::hash(&answer.bytes().await.unwrap())));
    }
    assert_eq!(all.iter().filter(|(how, _)| how == "miss").count(), 1, "{all:?}");
    assert!(all.iter().all(|(_, hash)| *hash == all[0].1));
    assert_eq!(conversions(&gateway).await, 1);
    until_no_folder_is_left(&gateway);
}

/// A model that is slow to convert.
pub fn large() -> String {
    use std::fmt::Write;

    let mut text = String::new();
    for at in 0..60_000 {
        let _ = writeln!(text, "v {at} {} {}", at % 7, at % 11);
    }
    for at in 1..59_990 {
        let _ = writeln!(text, "f {at} {} {}", at + 1, at + 7);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_does_not_cancel_a_shared_conversion() {
    // Slow enough to be observed while it runs.
    const SLOW: &str = "output_format=fbx&filename=a.bvh";
    let gateway = Gateway::start(&[("LOG_LEVEL", "info,meshgate::conversion=debug")]);
    let content = motion();
    let begun = |content: &[u8]| {
        let mut raw = gateway.raw();
        raw.send(head(SLOW, content.len())).send(content);
        raw
    };
    let leader = begun(&content);
    let held = gateway.hold().await;
    let follower = tokio::spawn(
        gateway.client.post(gateway.url(&format!("/convert?{SLOW}"))).body(content.clone()).send(),
    );
    gateway.wait_for("waiting for an equal conversion");
    let other = begun(&content);
    gateway.wait_for("waiting for an equal conversion");
    drop(leader);
    drop(other);
    // The log shows both requests as gone.
    for _ in 0..2 {
        gateway.wait_for("status=499");
    }
    drop(held);
    let answer = follower.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), cache_status(&answer).as_str()), (200, "coalesced"));
    answer.bytes().await.unwrap();
    assert_eq!(conversions(&gateway).await, 1);

    // The conversion is cancelled when the last client hangs up.
    gateway.until_idle().await;
    let another = [&content[..], b"\n"].concat();
    let last = begun(&another);
    gateway.child().await;
    drop(last);
    gateway.until_idle().await;
    let cancelled = "meshgate_conversions_total{engine=\"blender\",input=\"bvh\",outcome=\"cancelled\"";
    until_counted(&gateway, cancelled).await;
    until_no_folder_is_left(&gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn model_failures_are_cached_and_server_failures_are_not() {
    let gateway = Gateway::start(&[("CONVERSION_TIMEOUT", "0.001")]);
    let send = async |content: &'static str| {
        let answer = model(&gateway, content).send().await.unwrap();
        (cache_status(&answer), answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    };
    let is = |how: &str, code: &str| (how.to_owned(), code.to_owned());
    for _ in 0..2 {
        let (_, code) = send(TRIANGLE).await;
        assert_eq!(code, "timeout");
    }
    assert_eq!(conversions(&gateway).await, 2);
    let gateway = Gateway::start(&[]);
    let send = async |content: &'static str| {
        let answer = model(&gateway, content).send().await.unwrap();
        (cache_status(&answer), answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(send("what is this?").await, is("miss", "unknown_format"));
    assert_eq!(send("what is this?").await, is("hit", "unknown_format"));
    assert_eq!(conversions(&gateway).await, 1);
    assert!(stored(&gateway, "entries").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_or_missing_results_are_converted_again() {
    let gateway = Gateway::start(&[]);
    let first = conversion(&gateway).send().await.unwrap().bytes().await.unwrap();
    until_stored(&gateway, 1);
    let blob = stored(&gateway, "blobs").remove(0);
    let poison: [&dyn Fn(); 4] = [
        &|| {
            let mut content = fs::read(&blob).unwrap();
            content[10] ^= 1;
            fs::write(&blob, content).unwrap();
        },
        &|| fs::write(&blob, "short").unwrap(),
        &|| fs::remove_file(&blob).unwrap(),
        &|| fs::remove_dir_all(gateway.folder.path().join("store")).unwrap(),
    ];
    for (number, poison) in poison.iter().enumerate() {
        poison();
        let answer = conversion(&gateway).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), cache_status(&answer).as_str()), (200, "miss"), "{number}");
        assert_eq!(answer.bytes().await.unwrap(), first);
        until("it is there again", || fs::read(&blob).is_ok_and(|content| content == first));
        until_stored(&gateway, 1);
        until_known(&gateway).await;
    }
    assert_eq!(conversions(&gateway).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = [("CONVERSION_CACHE_DIR", folder.path().to_str().unwrap())];
    let entries = || complete_files(&folder.path().join("entries"));
    let gateway = Gateway::start(&store);
    let first = conversion(&gateway).send().await.unwrap();
    let link = header(&first, "link");
    until("it is stored", || entries().len() == 1);
    drop(gateway);
    let gateway = Gateway::start(&store);
    let again = conversion(&gateway).send().await.unwrap();
    assert_eq!((cache_status(&again).as_str(), header(&again, "link")), ("hit", link));
    // The report is found, too.
    assert_eq!(gateway.json(&report(&again)).await["output"]["format"], "stl");
    assert_eq!(conversions(&gateway).await, 0);

    // An entry that is too old is not found; one with a future time is.
    let entry = entries().remove(0);
    let put = |seconds: i64| {
        let now = std::time::SystemTime::now();
        let time = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { now - time } else { now + time };
        fs::File::open(&entry).unwrap().set_modified(time).unwrap();
    };
    drop(gateway);
    for (seconds, expected) in [(-3700, "miss"), (3600 * 24 * 365, "hit")] {
        put(seconds);
        let gateway = Gateway::start(&store);
        assert_eq!(cache_status(&conversion(&gateway).send().await.unwrap()), expected, "{seconds}");
        drop(gateway);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_can_be_turned_off() {
    let gateway = Gateway::start(&[("CACHE", "off")]);
    for _ in 0..2 {
        let answer = conversion(&gateway).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), cache_status(&answer).as_str()), (200, "miss"));
    }
    assert_eq!((conversions(&gateway).await, answered(&gateway, "bypass").await), (2, 2));
    until("reports are stored all the same", || stored(&gateway, "reports").len() == 2);
    assert!(stored(&gateway, "entries").is_empty() && stored(&gateway, "blobs").is_empty());
}

/// A gateway whose cache holds two results, and the size of a result in bytes.
async fn with_room_for_two() -> (Gateway, usize) {
    let probe = Gateway::start(&[]);
    let bytes = conversion(&probe).send().await.unwrap().bytes().await.unwrap().len();
    drop(probe);
    let gateway = Gateway::start(&[("CACHE_MAX_SIZE", &(2 * bytes).to_string())]);
    (gateway, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_recently_used_result_is_evicted() {
    let (gateway, _) = with_room_for_two().await;
    let content = |number: u32| TRIANGLE.replacen("v 1", &format!("v {number}"), 1);
    for number in 1..=3 {
        assert_eq!(cache_status(&model(&gateway, &content(number)).send().await.unwrap()), "miss");
        until("it is stored", || stored(&gateway, "reports").len() == number as usize);
        until("the cache is within its limit", || {
            let number = (number as usize).min(2);
            (stored(&gateway, "entries").len(), stored(&gateway, "blobs").len()) == (number, number)
        });
    }
    assert_eq!(cache_status(&model(&gateway, &content(3)).send().await.unwrap()), "hit");
    assert_eq!(cache_status(&model(&gateway, &content(1)).send().await.unwrap()), "miss");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_too_large_to_cache_evicts_no_others() {
    let (gateway, bytes) = with_room_for_two().await;
    assert_eq!(cache_status(&conversion(&gateway).send().await.unwrap()), "miss");
    until_stored(&gateway, 1);
    let many: String = (0..20)
        .map(|at| {
            let corners = format!("f {} {} {}", 3 * at + 1, 3 * at + 2, 3 * at + 3);
            TRIANGLE.replace("f 1 2 3", &corners).replace("v 1", &format!("v {}", at + 1))
        })
        .collect();
    let large = model(&gateway, &many).send().await.unwrap();
    assert_eq!((large.status().as_u16(), cache_status(&large).as_str()), (200, "miss"));
    assert!(large.bytes().await.unwrap().len() > 2 * bytes);
    until("it was stored and evicted", || {
        stored(&gateway, "reports").len() == 2
            && (stored(&gateway, "entries").len(), stored(&gateway, "blobs").len()) == (1, 1)
    });
    assert_eq!(cache_status(&conversion(&gateway).send().await.unwrap()), "hit");
    assert_eq!(super::count(&gateway, "meshgate_cache_bytes").await, bytes as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_reports_are_never_linked() {
    let server = RedisServer::start();
    let url = server.url();
    for redis in [None, Some(("REDIS_URL", url.as_str()))] {
        let settings = [("RESULT_TTL", "3"), ("CACHE_DURATION", "3600")];
        let settings: Vec<_> = settings.into_iter().chain(redis).collect();
        let gateway = Gateway::start(&settings);
        let first = conversion(&gateway).send().await.unwrap();
        let old = report(&first);
        until("it is stored", || stored(&gateway, "reports").len() == 1);
        let status = async |path: &str| gateway.client.get(gateway.url(path)).send().await.unwrap().status();
        let began = std::time::Instant::now();
        while status(&old).await != 410 {
            assert!(began.elapsed() < LONG, "it never expires");
            // Hits do not extend the life of an entry.
            conversion(&gateway).send().await.unwrap();
        }
        // Hits kept the result in use, but its report has expired, so that the model is converted again.
        let again = conversion(&gateway).send().await.unwrap();
        assert_ne!(report(&again), old, "{redis:?}");
        assert_eq!((status(&old).await.as_u16(), status(&report(&again)).await.as_u16()), (410, 200));
    }
}
