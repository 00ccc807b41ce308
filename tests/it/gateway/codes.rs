//! Every status and error code in the OpenAPI document is tested over HTTP.

mod documented;
mod jobs;

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};

use meshgate::domain::ErrorCode;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use rustix::process::Signal;
use uuid::Uuid;

use documented::{codes, listed};
use jobs::UPLOADS;

use super::connections::large_glb;
use super::engine::{motion, send};
use super::errors::{Case, cases};
use super::raw::{GET_LIVE, Problem, Raw};
use super::receive::triangle;
use super::stopping::waits_for_a_bucket;
use super::{Gateway, TRIANGLE, report, until, until_no_folder_is_left};
use crate::busy_engine;
use crate::cache::bucket;
use crate::conversions::bad_input::run_python;
use crate::intake::zip_of;
use crate::storage::backend::Backend;
use crate::storage::server::Server;

/// Both paths of the conversion call.
const BOTH: [&str; 2] = ["/convert", "/v1/convert"];

/// The call whose errors are those of conversions: a job that failed has the error of its conversion.
const RESULT: &str = "GET /v1/jobs/{id}/result";

/// The code that needs a mounted disk; `disk::a_full_disk_gets_507_and_is_survived` tests it.
const ELSEWHERE: ErrorCode = ErrorCode::DiskFull;

/// The code that needs a cluster.
const NO_CAPACITY: ErrorCode = ErrorCode::NoCapacity;

/// Codes that no response has: one of the command line, and one for clients that are gone.
const NOWHERE: [ErrorCode; 2] = [ErrorCode::OutputExists, ErrorCode::Cancelled];

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_response_occurs() {
    let mut seen = Seen::default();
    requests(&mut seen).await;
    models(&mut seen).await;
    refusals(&mut seen).await;
    a_busy_engine(&mut seen).await;
    a_faulty_engine(&mut seen).await;
    results_in_a_bucket(&mut seen).await;
    jobs::jobs(&mut seen).await;
    jobs::redeliveries(&mut seen).await;
    jobs::streams(&mut seen).await;
    jobs::submissions(&mut seen).await;
    jobs::full_queues(&mut seen).await;
    jobs::a_broken_queue(&mut seen).await;
    let Seen(seen) = seen;

    let mut elsewhere: BTreeSet<Listed> =
        UPLOADS.map(|path| answer("POST", path, 507, &ELSEWHERE.to_string())).into();
    // A retry holds its key for as long as it copies the model; `keys_in_flight` tests this with uploads.
    elsewhere.insert(answer("POST", "/v1/jobs/{id}/retry", 409, "idempotency_key_in_flight"));
    // It takes a cluster to have no room there: `tests/cluster`.
    elsewhere.extend(BOTH.map(|path| answer("POST", path, 503, &NO_CAPACITY.to_string())));
    // This needs more than 64 MiB of reports: `http::report_texts::tests::the_total_size_of_report_texts_is_limited`.
    elsewhere
        .extend(["/v1/reports/{id}", "/v1/jobs/{id}"].map(|path| answer("GET", path, 503, "overloaded")));
    let listed = listed();
    // `gateway::jobs::results` tests two of them; all are tested as errors of conversions.
    let of_conversions = |each: &&Listed| {
        let converted = Listed { call: format!("POST {}", BOTH[0]), ..(*each).clone() };
        each.call == RESULT && !each.code.is_empty() && listed.contains(&converted)
    };
    elsewhere.extend(listed.iter().filter(of_conversions).cloned());
    let missing: Vec<_> = listed.difference(&seen).filter(|each| !elsewhere.contains(each)).collect();
    assert!(missing.is_empty(), "listed, and not answered here: {missing:#?}");
    let calls: BTreeSet<&str> = listed.iter().map(|each| each.call.as_str()).collect();
    let unlisted: Vec<_> =
        seen.difference(&listed).filter(|each| calls.contains(each.call.as_str())).collect();
    assert!(unlisted.is_empty(), "answered, and not listed: {unlisted:#?}");

    let answered = seen.iter().map(|each| each.code.clone()).filter(|code| !code.is_empty());
    let others = NOWHERE.iter().chain([&ELSEWHERE, &NO_CAPACITY]).map(ErrorCode::to_string);
    assert_eq!(answered.chain(others).collect::<BTreeSet<_>>(), codes());
}

/// A call with its status and error code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    /// `POST /convert`
    call: String,
    status: u16,
    /// Empty if the answer is not an error.
    code: String,
}

fn answer(method: &str, path: &str, status: u16, code: &str) -> Listed {
    Listed { call: format!("{method} {path}"), status, code: code.to_owned() }
}

/// The answers seen so far.
#[derive(Default)]
struct Seen(BTreeSet<Listed>);

impl Seen {
    /// Records an answer, after a check that problems are well-formed and one sentence.
    fn note(&mut self, expected: Listed, status: u16, media_type: &str, body: &[u8]) {
        let is_problem = media_type == "application/problem+json";
        let code = if is_problem {
            let Problem(_, code, sentence) = Problem::of(status, body);
            let one = !sentence.is_empty() && !sentence.ends_with('.') && !sentence.contains(['\n', '\r']);
            assert!(one, "{expected:?}: {sentence:?}");
            code
        } else {
            String::new()
        };
        let got = Listed { call: expected.call.clone(), status, code };
        assert_eq!(got, expected, "{}", String::from_utf8_lossy(body));
        self.0.insert(expected);
    }

    async fn take(&mut self, response: reqwest::Response, expected: Listed) {
        let status = response.status().as_u16();
        let media_type = response.headers().get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap());
        let media_type = media_type.to_owned();
        self.note(expected, status, &media_type, &response.bytes().await.unwrap());
    }

    async fn get(&mut self, gateway: &Gateway, path: &str, status: u16, code: &str) {
        let response = gateway.client.get(gateway.url(path)).send().await.unwrap();
        self.take(response, answer("GET", path, status, code)).await;
    }

    /// Converts by both paths of the call.
    async fn convert(&mut self, gateway: &Gateway, query: &str, model: &[u8], status: u16, code: &str) {
        for path in BOTH {
            let response = ask(gateway, path, query, model).send().await.unwrap();
            self.take(response, answer("POST", path, status, code)).await;
        }
    }

    /// Reads the next response on a connection, which is to a conversion.
    fn read(&mut self, raw: &mut Raw, path: &str, status: u16, code: &str) {
        self.next(raw, answer("POST", path, status, code));
    }

    /// Reads the next answer on a connection.
    fn next(&mut self, raw: &mut Raw, expected: Listed) {
        let got = raw.answer().unwrap_or_else(|| panic!("none: {expected:?}"));
        let media_type = got.header("content-type").unwrap().to_owned();
        self.note(expected, got.status, &media_type, &got.body);
    }
}

fn ask(gateway: &Gateway, path: &str, query: &str, model: &[u8]) -> reqwest::RequestBuilder {
    gateway.client.post(gateway.url(&format!("{path}?{query}"))).body(model.to_owned())
}

/// Sends the head of a request with this content length.
fn begin(gateway: &Gateway, path: &str, headers: &str, length: usize) -> Raw {
    let line = format!("POST {path}?output_format=fbx&filename=a.bvh HTTP/1.1\r\nhost: a\r\n");
    let mut raw = gateway.raw();
    raw.send(format!("{line}{headers}content-length: {length}\r\n\r\n"));
    raw
}

/// Checks that a conversion still succeeds.
async fn works(gateway: &Gateway) {
    let request = ask(gateway, BOTH[0], "output_format=stl&filename=a.obj", TRIANGLE.as_bytes());
    let response = request.header("cache-control", "no-cache").send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
}

/// Tests the answers that need no conversion.
async fn requests(seen: &mut Seen) {
    let gateway = Gateway::start_cold(&[("MAX_FILE_SIZE", "100000"), ("READ_TIMEOUT", "1")]);
    for path in ["/v1/formats", "/health", "/livez", "/metrics", "/openapi.json", "/apidocs/"] {
        seen.get(&gateway, path, 200, "").await;
    }
    for Case { method, path, media_type, body, status, code } in cases() {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let paths = match (BOTH.contains(&path), status) {
            (true, 400) => UPLOADS.to_vec(),
            (true, _) => BOTH.to_vec(),
            (false, _) => vec![path],
        };
        for path in paths {
            let url = gateway.url(&format!("{path}?{query}"));
            let request = gateway.client.request(method.clone(), url).header(CONTENT_TYPE, media_type);
            let call = if path.starts_with("/v1/reports/") { "/v1/reports/{id}" } else { path };
            let response = request.body(body).send().await.unwrap();
            seen.take(response, answer(method.as_str(), call, status, code)).await;
        }
    }
    for path in UPLOADS {
        let late = begin(&gateway, path, "", 1000);
        seen.read(&mut begin(&gateway, path, "", 100_001), path, 413, "too_large");
        seen.read(&mut { late }, path, 408, "request_timeout");
    }
    for path in BOTH {
        let long = format!("x: {}\r\n", "x".repeat(40_000));
        seen.read(&mut begin(&gateway, path, &long, 1), path, 431, "head_too_large");
        let mut coded = gateway.raw();
        coded.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n"));
        seen.read(&mut coded, path, 501, "unsupported_transfer_coding");
    }
    until_no_folder_is_left(&gateway);
    let gateway = Gateway::start_cold(&[("MAX_FILE_SIZE", "1M"), ("MAX_UPLOADS_SIZE", "2M")]);
    let mut unfinished = begin(&gateway, BOTH[0], "", 1 << 20);
    unfinished.send(vec![b'#'; 900_000]);
    until("it is on the disk", || gateway.conversions_on_disk().len() == 1);
    for path in UPLOADS {
        let mut beyond = begin(&gateway, path, "", 1 << 20);
        beyond.send(vec![b'#'; 900_000]);
        seen.read(&mut beyond, path, 503, "overloaded");
    }
}

/// Python code for a model of a thousand million cubes, too large for any text format.
const LARGE: &str = r#"
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add()
for _ in range(3):
    bpy.context.object.modifiers.new("a", "ARRAY").count = 1000
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])
"#;

/// Queries and models with the code that refuses them.
fn unconvertible() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let obj = TRIANGLE.as_bytes();
    let folder = tempfile::tempdir().unwrap();
    let (script, large) = (folder.path().join("make.py"), folder.path().join("large.blend"));
    std::fs::write(&script, LARGE).unwrap();
    run_python(&script, &large);
    let mut locked = zip_of(&[("a.obj", obj)]);
    let directory = locked.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    // The bits that mark the entry as encrypted.
    locked[6] |= 1;
    locked[directory + 8] |= 1;
    let still = "HIERARCHY\nROOT Hips\n{\n  OFFSET 0 0 0\n  CHANNELS 3 Xrotation Yrotation Zrotation\n  \
        End Site\n  {\n    OFFSET 0 1 0\n  }\n}\nMOTION\nFrames: 0\nFrame Time: 0.033\n";
    let gone = r#"{"asset":{"version":"2.0"},"buffers":[{"uri":"gone.bin","byteLength":4}]}"#;
    let buffers = vec![r#"{"uri":"a.bin","byteLength":100000}"#; 1000].join(",");
    let again = format!(r#"{{"asset":{{"version":"2.0"}},"buffers":[{buffers}]}}"#);
    vec![
        ("output_format=vrm&filename=a.obj", obj.into(), "unsupported_pair"),
        ("output_format=fbx&filename=a.gltf", br#"{"asset":{"version":"2.0"}}"#.into(), "empty_model"),
        ("output_format=glb&filename=a.gltf", gone.into(), "missing_files"),
        ("output_format=glb&filename=a.bvh", still.into(), "no_animation"),
        // A skeleton of hips and a chest, without limbs.
        ("output_format=vrma&filename=a.bvh", busy_engine::motion(2).into(), "not_humanoid"),
        (
            "output_format=glb&filename=a.fbx",
            b"Kaydara FBX Binary  \0\x1a\0\xe8\x1c\0\0cut off".into(),
            "import_failed",
        ),
        ("output_format=glb&filename=a.zip", zip_of(&[("a.obj", b"")]), "empty_file"),
        ("output_format=glb&filename=a.zip", b"PK\x03\x04 and no zip".into(), "invalid_archive"),
        ("output_format=glb&filename=a.zip", locked, "encrypted_archive"),
        ("output_format=glb&filename=a.zip", zip_of(&[("a.obj", obj), ("b.obj", obj)]), "ambiguous_model"),
        ("output_format=glb&filename=a.blend", std::fs::read(large).unwrap(), "memory_limit"),
        (
            "output_format=glb&filename=a.zip",
            zip_of(&[("a.gltf", again.as_bytes()), ("a.bin", &noise(100_000))]),
            "output_too_large",
        ),
    ]
}

/// Incompressible bytes, since zips with a high compression ratio are refused.
fn noise(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    content
}

/// Tests the answers that depend on models, children and folders.
async fn models(seen: &mut Seen) {
    let gateway = Gateway::start(&[("WORKER_MEMORY_LIMIT", "1536M")]);
    seen.get(&gateway, "/readyz", 200, "").await;
    for path in BOTH {
        let request = || ask(&gateway, path, "output_format=stl&filename=a.obj", TRIANGLE.as_bytes());
        let response = request().send().await.unwrap();
        let (report, tag) = (report(&response), response.headers()["etag"].clone());
        seen.take(response, answer("POST", path, 200, "")).await;
        let response = request().header("if-none-match", tag).send().await.unwrap();
        seen.take(response, answer("POST", path, 304, "")).await;
        let response = gateway.client.get(gateway.url(&report)).send().await.unwrap();
        seen.take(response, answer("GET", "/v1/reports/{id}", 200, "")).await;
    }
    for (query, model, code) in unconvertible() {
        seen.convert(&gateway, query, &model, 422, code).await;
        works(&gateway).await;
    }

    let model = motion();
    for path in BOTH {
        gateway.until_idle().await;
        let mut raw = begin(&gateway, path, "", model.len());
        raw.send(&model);
        let mut killed = 0;
        for _ in 0..2 {
            let mut child = gateway.child().await;
            while child == killed {
                child = gateway.child().await;
            }
            send(child, Signal::KILL);
            killed = child;
        }
        seen.read(&mut raw, path, 422, "engine_crashed");
        works(&gateway).await;
    }

    // Replaces the work folder by a link to itself. Folders that are still to be removed would not be found.
    until_no_folder_is_left(&gateway);
    let work = gateway.folder.path().join("work");
    let names = std::fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().path());
    let runs: Vec<_> = names.filter(|path| path.to_string_lossy().contains("/run-")).collect();
    let [run] = &runs[..] else { panic!("{runs:?}") };
    std::fs::rename(run, work.join("away")).unwrap();
    symlink(run, run).unwrap();
    let other = format!("{TRIANGLE}# another\n");
    seen.convert(&gateway, "output_format=stl&filename=a.obj", other.as_bytes(), 500, "io").await;
    // A model that is kept in memory needs no folder before its job runs.
    let large = vec![b'#'; 3 << 20];
    let response =
        ask(&gateway, UPLOADS[2], "output_format=stl&filename=a.obj", &large).send().await.unwrap();
    seen.take(response, answer("POST", UPLOADS[2], 500, "io")).await;
    std::fs::remove_file(run).unwrap();
    std::fs::rename(work.join("away"), run).unwrap();
    works(&gateway).await;
    until_no_folder_is_left(&gateway);
}

/// Tests the refusals of clients.
async fn refusals(seen: &mut Seen) {
    let mut gateway = Gateway::start_cold(&[
        ("API_KEYS", "studio:s3cret-s3cret-s3cret"),
        ("RATE_LIMIT_REQUESTS", "1"),
        ("RATE_LIMIT_WINDOW", "3600"),
        ("METRICS_ADDRESS", "127.0.0.1:0"),
        ("BLENDER_PYTHON", "/bin/false"),
    ]);
    let known = [("x-api-key".parse().unwrap(), "s3cret-s3cret-s3cret".parse().unwrap())];
    let with_key = reqwest::Client::builder().default_headers(known.into_iter().collect()).build().unwrap();
    let stl = "output_format=stl&filename=a.obj";
    seen.convert(&gateway, stl, TRIANGLE.as_bytes(), 401, "unauthorized").await;
    seen.get(&gateway, "/v1/formats", 401, "unauthorized").await;
    let response = gateway.client.get(gateway.url("/v1/reports/1")).send().await.unwrap();
    seen.take(response, answer("GET", "/v1/reports/{id}", 401, "unauthorized")).await;
    let (jobs, job) = (UPLOADS[2], Uuid::now_v7().to_string());
    let response = ask(&gateway, jobs, stl, TRIANGLE.as_bytes()).send().await.unwrap();
    seen.take(response, answer("POST", jobs, 401, "unauthorized")).await;
    seen.get(&gateway, jobs, 401, "unauthorized").await;
    seen.every_call_on_a_job(&gateway, &job, 401, "unauthorized").await;
    gateway.client = with_key;
    seen.get(&gateway, "/metrics", 404, "not_found").await;
    gateway.until_says("/readyz", "down", |ready| ready["checks"]["engine"] == "not running").await;
    seen.get(&gateway, "/readyz", 503, "").await;
    seen.convert(&gateway, stl, TRIANGLE.as_bytes(), 503, "engine_unavailable").await;
    let only = ask(&gateway, BOTH[0], "output_format=gltf&filename=a.glb", &triangle()).send().await.unwrap();
    assert_eq!(only.status(), 200);
    seen.convert(&gateway, stl, TRIANGLE.as_bytes(), 429, "rate_limited").await;
    let response = ask(&gateway, jobs, stl, TRIANGLE.as_bytes()).send().await.unwrap();
    seen.take(response, answer("POST", jobs, 429, "rate_limited")).await;
    seen.retry(&gateway, &job, 429, "rate_limited").await;

    let gateway = Gateway::start_cold(&[("MAX_CONNECTIONS", "1")]);
    let mut open = gateway.raw();
    assert_eq!(open.send(GET_LIVE).answer().unwrap().status, 200);
    for path in BOTH {
        seen.read(&mut begin(&gateway, path, "", 100_000), path, 503, "too_many_connections");
    }
}

/// Tests the answers of a busy engine, and of a service that stops.
async fn a_busy_engine(seen: &mut Seen) {
    let mut gateway = Gateway::start(&[
        ("WORKERS", "2"),
        ("QUEUE_LIMIT", "0"),
        // Equal conversions would run once.
        ("CACHE", "off"),
        // Shorter than the time after which a stopped child counts as hung.
        ("CONVERSION_TIMEOUT", "3"),
        ("SHUTDOWN_GRACE", "0.5"),
    ]);
    let model = motion();
    let mut running = BOTH.map(|path| {
        let mut raw = begin(&gateway, path, "", model.len());
        raw.send(&model);
        raw
    });
    stop(&gateway, 2);
    for path in BOTH {
        seen.read(&mut begin(&gateway, path, "", 1_000_000), path, 503, "queue_full");
    }
    for (path, raw) in BOTH.into_iter().zip(&mut running) {
        seen.read(raw, path, 504, "timeout");
    }
    works(&gateway).await;

    gateway.until_idle().await;
    let [mut upload, mut running, mut job] = UPLOADS.map(|path| begin(&gateway, path, "", model.len()));
    upload.send(&model[..100]);
    job.send(&model[..100]);
    running.send(&model);
    stop(&gateway, 1);
    gateway.signal(Signal::TERM);
    for (path, raw) in UPLOADS.into_iter().zip([&mut upload, &mut running, &mut job]) {
        seen.read(raw, path, 503, "shutting_down");
    }
    assert_eq!(gateway.end().code(), Some(0));

    let (mut gateway, mut raw, _bucket) = waits_for_a_bucket("0");
    gateway.signal(Signal::TERM);
    seen.next(&mut raw, answer("GET", "/v1/reports/{id}", 503, "shutting_down"));
    assert_eq!(gateway.end().code(), Some(0));
}

/// Stops this many children as soon as they run conversions.
fn stop(gateway: &Gateway, number: usize) {
    let told = || gateway.zygotes().into_iter().all(busy_engine::sleeps);
    until("all are at work", || gateway.converting().len() == number && told());
    gateway.converting().into_iter().for_each(|child| send(child, Signal::STOP));
}

/// An engine with simulated bugs: in Meshgate's code, an exporter that fails, and an exporter that loses everything.
const MISTAKES: &str = r#"
import runpy
run_path = runpy.run_path
def mistaken(*arguments, **named):
    import bpy
    from meshgate_engine import conversion
    from meshgate_engine.formats import abc
    def fail(job):
        if job.output_format == "ply":
            raise RuntimeError("a mistake in /our/own/code.py")
        if job.output_format == "glb":
            for mesh in bpy.data.meshes:
                mesh.clear_geometry()
    mistake = conversion.Step("a mistake", fail)
    conversion.STEPS["processing"] = (*conversion.STEPS["processing"], mistake)
    exporting = abc.exporting
    abc.exporting = lambda job, operator, **options: exporting(job, operator, nothing=options)
    return run_path(*arguments, **named)
runpy.run_path = mistaken
"#;

async fn a_faulty_engine(seen: &mut Seen) {
    let bin = tempfile::tempdir().unwrap();
    let python = bin.path().join("python");
    let real = busy_engine::engine();
    std::fs::write(bin.path().join("mistake.py"), MISTAKES).unwrap();
    let script = format!(
        "#!/bin/sh\nexec {} \"$1\" \"$2\" \"$(cat {})\n$3\"\n",
        real.display(),
        bin.path().join("mistake.py").display()
    );
    std::fs::write(&python, script).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    // The sandbox would not allow a wrapper outside the engine's folder.
    let gateway = Gateway::start(&[("BLENDER_PYTHON", python.to_str().unwrap()), ("SANDBOX", "off")]);
    for (target, status, code) in
        [("ply", 500, "internal"), ("glb", 422, "geometry_lost"), ("abc", 422, "export_failed")]
    {
        let query = format!("output_format={target}&filename=a.obj");
        seen.convert(&gateway, &query, TRIANGLE.as_bytes(), status, code).await;
        works(&gateway).await;
    }
}

/// Tests a redirect to the bucket.
async fn results_in_a_bucket(seen: &mut Seen) {
    let backend = Backend::bucket_on(Server::shared(), &[]).await;
    let mut gateway = bucket::start(&backend, Server::shared(), &[("PRESIGN_RESULTS", "true")]);
    gateway.client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let model = large_glb(2 << 20);
    for path in BOTH {
        let request = || ask(&gateway, path, "output_format=gltf&filename=a.glb", &model).send();
        // The result is stored after the response; until then, it is sent in the response.
        let mut response = request().await.unwrap();
        while response.status() == 200 {
            response = request().await.unwrap();
        }
        seen.take(response, answer("POST", path, 303, "")).await;
    }
    jobs::a_result_in_a_bucket(seen, &gateway).await;
}
