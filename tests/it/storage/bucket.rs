//! Faults of buckets, and features of buckets only.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use meshgate::config::CloudOptions;
use meshgate::fs::blob::Blob;
use meshgate::storage::{Document, Error, JobObject, SMALL, Storage, Stored, Trouble};
use uuid::Uuid;

use super::backend::{Backend, noise};
use super::server::Server;
use super::suite::{fetch, put};

fn source(content: &[u8]) -> Blob {
    Blob::Memory(Bytes::copy_from_slice(content))
}

/// Checks that every operation fails with the same error, and returns it.
async fn fails(storage: &Storage, backend: &Backend) -> Error {
    let (small, large) = (noise(1, 100), noise(2, 12 << 20));
    let report = Document::Report(Uuid::now_v7());
    let error = storage.check().await.unwrap_err();
    for other in [
        storage.put_blob(source(&small), &blake3::hash(&small)).await.map(drop),
        storage.put_blob(source(&large), &blake3::hash(&large)).await.map(drop),
        storage.fetch(&blake3::hash(&small), 100, backend.spool.path()).await.map(drop),
        storage.put(report, "{}".into()).await,
        storage.get(report).await.map(drop),
        storage.sweep(SystemTime::now()).await.map(drop),
    ] {
        let other = other.unwrap_err();
        assert_eq!(other.trouble, error.trouble, "{other}");
    }
    assert_eq!(storage.trouble().unwrap().trouble, error.trouble);
    assert!(!error.detail.contains('\n') && !error.detail.contains("secret"), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_are_uploaded_once_in_parts() {
    let backend = Backend::bucket().await;
    let storage = backend.open();
    let content = noise(3, 20 << 20);
    let hash = put(&storage, &content).await;
    let sent = |text: &str| Server::shared().requests(&format!("/{}/{text}", backend.bucket_name()));
    let part = format!("some/prefix/blobs/{}/{hash}?partNumber=", &hash.to_hex()[..2]);
    assert_eq!(sent(&part), 3);
    assert_eq!(storage.put_blob(source(&content), &hash).await.unwrap(), Stored::Present);
    assert_eq!(sent(&part), 3);
    // An object that would expire before a new one is uploaded again, since only an upload renews its age.
    let strict = backend.open_with(|config| config.ttl = Duration::from_nanos(24));
    assert_eq!(strict.put_blob(source(&content), &hash).await.unwrap(), Stored::New);
    assert_eq!(sent(&part), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_finishes_after_its_request_is_dropped() {
    let backend = Backend::bucket().await;
    let storage = backend.open();
    let content = noise(4, 12 << 20);
    let hash = blake3::hash(&content);
    let file = backend.source(&content);
    {
        let mut upload = Box::pin(storage.put_blob(Blob::open(&file).unwrap(), &hash));
        // Waits until the first part is being sent.
        let begun = async {
            while Server::shared().requests(&format!("/{}/", backend.bucket_name())) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = &mut upload => {}
            () = begun => {}
        }
    }
    std::fs::remove_file(file).unwrap();
    let end = Instant::now() + Duration::from_mins(2);
    while fetch(&storage, &backend, &hash, content.len()).await.is_none() {
        assert!(Instant::now() < end, "it never came");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_bucket_is_reported() {
    let backend = Backend::bucket().await;
    let storage = backend.open();
    let content = noise(5, 2 << 20);
    let hash = put(&storage, &content).await;
    assert_eq!(storage.trouble(), None);
    backend.remove_bucket().await;

    let error = fails(&storage, &backend).await;
    let expected = format!("s3://{}/some/prefix does not exist (NoSuchBucket)", backend.bucket_name());
    assert_eq!((error.trouble, error.detail), (Trouble::NoBucket, expected));

    backend.make_bucket().await;
    assert!(fetch(&storage, &backend, &hash, content.len()).await.is_none());
    assert_eq!(put(&storage, &content).await, hash);
    assert_eq!(storage.trouble(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_reported() {
    // moto checks credentials after four requests: one creates the bucket, three a user with all rights.
    let server = Server::start(&["--port", "0"], &[("INITIAL_NO_AUTH_ACTION_COUNT", "4")]);
    let backend = Backend::bucket_on(&server, &[]).await;
    let (id, secret) = server.new_user().await;
    let user = |secret| [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", secret)];
    let open = |options: &[(&str, &str)]| {
        backend.open_with(|config| config.location = Some(server.location(backend.bucket_name(), options)))
    };
    let storage = open(&user(&secret));
    put(&storage, b"a result").await;
    storage.check().await.unwrap();
    storage.sweep(SystemTime::now()).await.unwrap();

    for (options, code) in [(&[][..], "InvalidAccessKeyId"), (&user("another"), "SignatureDoesNotMatch")] {
        let error = fails(&open(options), &backend).await;
        let expected = format!("s3://{}/some/prefix refuses the credentials ({code})", backend.bucket_name());
        assert_eq!((error.trouble, error.detail), (Trouble::Denied, expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_are_reported() {
    let backend = Backend::bucket().await;
    let storage = backend.open_with(|config| {
        let Some(meshgate::config::Location::Bucket(_, CloudOptions(options))) = &mut config.location else {
            panic!("it is a bucket")
        };
        options.retain(|(name, _)| !name.contains("KEY"));
        // Nothing listens at the address that machines of this cloud get credentials from.
        options.push(("AWS_METADATA_ENDPOINT".to_owned(), format!("http://{}", unused_address())));
    });
    let error = storage.check().await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Denied);
    assert!(error.detail.ends_with("needs credentials, and neither the environment nor the machine has any"));
}

/// An address of this machine where nothing listens.
fn unused_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_gets_one_request_until_it_returns() {
    let server = Server::start(&["--port", "0"], &[]);
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let backend = Backend::bucket_on(&server, &[]).await;
    let storage = backend.open();
    let hash = put(&storage, b"a result").await;
    drop(server);

    let error = storage.fetch(&hash, 8, backend.spool.path()).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Unreachable);
    assert!(error.detail.contains("cannot be reached: ") && error.detail.contains("refused"), "{error}");
    // Later operations fail at once, instead of waiting like the first.
    let (sender, outcomes) = std::sync::mpsc::channel();
    storage.observe(Box::new(move |_, outcome, _| sender.send(outcome.word()).unwrap()));
    for _ in 0..20 {
        assert_eq!(storage.put_blob(source(b"x"), &blake3::hash(b"x")).await.unwrap_err(), error);
    }
    assert_eq!(outcomes.try_iter().collect::<Vec<_>>(), ["skipped"; 20]);

    let _server = Server::start(&["--port", &port], &[]);
    backend.make_bucket().await;
    storage.check().await.unwrap();
    assert_eq!(storage.trouble(), None);
    assert!(fetch(&storage, &backend, &hash, 8).await.is_none());
    assert_eq!(outcomes.try_iter().collect::<Vec<_>>(), ["done", "absent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_times_out() {
    let backend = Backend::bucket().await;
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", deaf.local_addr().unwrap());
    let storage = backend.open_with(|config| {
        let Some(meshgate::config::Location::Bucket(_, CloudOptions(options))) = &mut config.location else {
            panic!("it is a bucket")
        };
        let sooner = [("AWS_ENDPOINT", address.as_str()), ("AWS_READ_TIMEOUT", "200ms")];
        options.extend(sooner.map(|(name, value)| (name.to_owned(), value.to_owned())));
    });
    let error = storage.put_blob(source(b"x"), &blake3::hash(b"x")).await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Unreachable);
    assert!(error.detail.ends_with(" does not answer in time"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn presigned_urls_serve_results_from_the_bucket() {
    let backend = Backend::bucket().await;
    let content = noise(6, 300_000);
    let hash = blake3::hash(&content);
    let (name, media_type) =
        ("attachment; filename=\"a b.glb\"; filename*=UTF-8''%E7%8C%AB.glb", "model/gltf-binary");
    let minute = Duration::from_mins(1);
    let plain = backend.open();
    let storage = backend.open_with(|config| config.presign = true);
    let url = |storage: Storage, valid_for| async move {
        storage.presigned(&hash, name, media_type, valid_for).await.unwrap()
    };
    assert_eq!(url(storage.clone(), minute).await, None);
    put(&storage, &content).await;
    assert_eq!(url(plain, minute).await, None);
    // The object expires before this time.
    assert_eq!(url(storage.clone(), Duration::from_hours(30)).await, None);
    let url = url(storage, minute).await.unwrap();
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-disposition"], name);
    assert_eq!(answer.headers()["content-type"], media_type);
    assert!(answer.bytes().await.unwrap() == content);

    let folder = Backend::folder();
    let storage = folder.open_with(|config| config.presign = true);
    put(&storage, &content).await;
    assert_eq!(storage.presigned(&hash, name, media_type, minute).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_parts_of_job_objects_are_read_without_the_rest() {
    let (backend, folder) = (Backend::bucket().await, Backend::folder());
    let content = noise(7, 400_000);
    let object = JobObject::Result(Uuid::now_v7(), 1);
    for storage in [backend.open(), folder.open()] {
        storage.open_job_objects(true).await.unwrap();
        storage.put_job_object(object, source(&content)).await.unwrap();
        for (part, length, is_read) in [
            (0..1, 400_000, true),
            (399_000..400_000, 400_000, true),
            (7..7 + SMALL, 400_000, true),
            (7..8 + SMALL, 400_000, false),
            // Another length than that of the object, and one that costs little as a whole.
            (0..1, 400_001, false),
            (0..1, SMALL, false),
        ] {
            let read = storage.read_job_object_part(object, part.clone(), length).await.unwrap();
            let expected = &content[part.start as usize..part.end as usize];
            // Folders have no need for it.
            let is_read = is_read && storage.needs_spool(length);
            assert_eq!(read.as_deref(), is_read.then_some(expected), "{part:?} of {length}");
        }
        let absent = JobObject::Result(Uuid::now_v7(), 1);
        assert_eq!(storage.read_job_object_part(absent, 0..1, 400_000).await.unwrap(), None);
    }
    assert!(backend.open().needs_spool(400_000) && !folder.open().needs_spool(400_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn presigned_urls_serve_objects_of_jobs() {
    let backend = Backend::bucket().await;
    let content = noise(8, 300_000);
    let object = JobObject::Result(Uuid::now_v7(), 3);
    // Results expire, and objects of jobs do not.
    let storage = backend.open_with(|config| {
        config.presign = true;
        config.ttl = Duration::from_nanos(24);
    });
    let (name, media_type) = ("attachment; filename=\"a.glb\"", "model/gltf-binary");
    let url = |storage: Storage| async move {
        storage.presigned_job_object(object, name, media_type, Duration::from_mins(1)).await.unwrap()
    };
    assert_eq!(url(storage.clone()).await, None);
    storage.put_job_object(object, source(&content)).await.unwrap();
    assert_eq!(url(backend.open()).await, None);
    let answer = reqwest::get(url(storage).await.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], media_type);
    assert_eq!(answer.headers()["content-disposition"], name);
    assert!(answer.bytes().await.unwrap() == content);
}

/// Would panic with two cryptography providers in one program.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_reached_over_tls() {
    let server = Server::start(&["--port", "0", "--ssl"], &[]);
    assert!(server.address.starts_with("https://"), "{}", server.address);
    let location = |options| server.location("bucket", options);
    let open = |options| {
        let config = meshgate::config::Storage {
            location: Some(location(options)),
            ttl: Duration::from_hours(1),
            max_bytes: 1,
            presign: false,
        };
        Storage::open(&config, std::path::Path::new("/unused")).unwrap()
    };
    let error = open(&[]).check().await.unwrap_err();
    assert_eq!(error.trouble, Trouble::Unreachable, "its certificate is not trusted: {error}");
    let storage = open(&[("AWS_ALLOW_INVALID_CERTIFICATES", "true")]);
    assert_eq!(storage.check().await.unwrap_err().trouble, Trouble::NoBucket);
}
