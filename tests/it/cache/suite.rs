//! One suite for both indexes, and tests of only one of them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use meshgate::cache::{Entry, Index, LocalIndex, RedisIndex, ResultInfo};
use meshgate::domain::{ConversionError, ErrorCode, Format};
use meshgate::fs::blob::Blob;
use meshgate::storage::{Document, Hash, Storage};
use redis::Commands;

use crate::gateway::LONG;
use crate::redis::{RedisServer, connect};
use crate::storage::backend::{Backend, noise};

suite! {
    { in_process: super::Side::here(), on_redis: super::Side::there() }
    {
        an_entry_stays_until_replaced_or_removed
        other_processes_find_the_results
        expired_entries_are_not_found
        unreadable_entries_are_not_found
        concurrent_puts_and_gets_agree
    }
}

const HOUR: Duration = Duration::from_hours(1);
const ROOM: u64 = 1 << 30;

struct Side {
    store: Backend,
    server: Option<RedisServer>,
}

impl Side {
    fn here() -> Side {
        Side { store: Backend::folder(), server: None }
    }

    fn there() -> Side {
        Side { server: Some(RedisServer::start()), ..Side::here() }
    }

    /// Opens the index as another process would.
    async fn index(&self, duration: Duration) -> Arc<dyn Index> {
        let alone = LocalIndex::new(self.store.open(), duration, ROOM);
        match &self.server {
            None => Arc::new(alone),
            Some(server) => Arc::new(RedisIndex::new(connect(&server.url()).await, duration, alone)),
        }
    }

    /// Replaces the entry of this identity.
    async fn write(&self, identity: Hash, content: &[u8]) {
        match &self.server {
            None => self.store.write(&document(identity), content).await,
            Some(server) => {
                let key = format!("meshgate:cache:{}", identity.to_hex());
                server.connection().set::<_, _, ()>(key, content).unwrap();
            }
        }
    }
}

fn document(identity: Hash) -> String {
    let hex = identity.to_hex();
    format!("entries/{}/{hex}.json", &hex[..2])
}

fn result(number: u64, bytes: u64) -> Entry {
    Entry::Result(ResultInfo {
        hash: identity(number),
        bytes,
        format: Format::Obj,
        main: (number.is_multiple_of(2)).then(|| format!("{number}.obj").into()),
        zip: number.is_multiple_of(2),
        stem: "名 \"前\"".into(),
        report: uuid::Uuid::from_u128(u128::from(number)),
        losses: 7,
    })
}

fn failure() -> Entry {
    Entry::Failure(ConversionError::new(ErrorCode::EmptyModel, "the model has no object"))
}

fn identity(number: u64) -> Hash {
    blake3::hash(&number.to_le_bytes())
}

async fn an_entry_stays_until_replaced_or_removed(side: Side) {
    let index = side.index(HOUR).await;
    assert_eq!(index.get(identity(1)).await, None);
    for entry in [result(1, 10), result(2, 20), failure(), result(3, 30)] {
        index.put(identity(1), entry.clone()).await;
        assert_eq!(index.get(identity(1)).await, Some(entry));
    }
    index.put(identity(2), failure()).await;
    assert_eq!(index.get(identity(2)).await, Some(failure()));
    for number in [1, 1, 2] {
        index.remove(identity(number)).await;
        assert_eq!(index.get(identity(number)).await, None);
    }
}

async fn other_processes_find_the_results(side: Side) {
    let (one, other) = (side.index(HOUR).await, side.index(HOUR).await);
    one.put(identity(1), result(1, 10)).await;
    assert_eq!(other.get(identity(1)).await, Some(result(1, 10)));
    one.put(identity(2), result(2, 10)).await;
    other.remove(identity(2)).await;
    assert_eq!(side.index(HOUR).await.get(identity(2)).await, None);
}

async fn expired_entries_are_not_found(side: Side) {
    let index = side.index(Duration::from_millis(200)).await;
    for entry in [result(1, 10), failure()] {
        index.put(identity(1), entry).await;
        let began = Instant::now();
        while index.get(identity(1)).await.is_some() {
            assert!(began.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn unreadable_entries_are_not_found(side: Side) {
    let whole = String::from_utf8(result(1, 10).to_json()).unwrap();
    let cut = &whole[..whole.len() / 2];
    for (number, content) in
        ["", "what is this?", "{}", "null", cut, &whole.replace("bytes", "octets")].iter().enumerate()
    {
        let index = side.index(HOUR).await;
        side.write(identity(number as u64), content.as_bytes()).await;
        assert_eq!(index.get(identity(number as u64)).await, None, "{content}");
        index.put(identity(number as u64), result(2, 10)).await;
        assert_eq!(index.get(identity(number as u64)).await, Some(result(2, 10)));
    }
    side.write(identity(100), whole.as_bytes()).await;
    assert_eq!(side.index(HOUR).await.get(identity(100)).await, Some(result(1, 10)));
}

async fn concurrent_puts_and_gets_agree(side: Side) {
    let index = side.index(HOUR).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let index = Arc::clone(&index);
        tasks.spawn(async move {
            index.put(identity(number % 50), result(number % 50, 10)).await;
            index.get(identity(number % 50)).await == Some(result(number % 50, 10))
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|known| known));
}

async fn fill(storage: &Storage, number: u64) {
    for number in 0..number {
        let document = Document::Entry(identity(number));
        storage.put(document, result(number, 10).to_json().into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_entries_are_restored_at_start() {
    let side = Side::here();
    fill(&side.store.open(), 10_000).await;
    side.store.write("entries/somebody's", b"else").await;
    let index = LocalIndex::new(side.store.open(), HOUR, ROOM);
    index.rebuild().await;
    assert_eq!(index.bytes(), Some(100_000));
    // The index answers from memory alone.
    std::fs::remove_dir_all(side.store.path("entries")).unwrap();
    for number in [0, 1, 5000, 9999] {
        assert_eq!(index.get(identity(number)).await, Some(result(number, 10)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_index_fits_by_dropping_the_oldest() {
    for side in [Side::here(), Side { store: Backend::bucket().await, server: None }] {
        let storage = side.store.open();
        fill(&storage, 10).await;
        let blob = b"a result".as_slice();
        storage.put_blob(Blob::Memory(blob.into()), &blake3::hash(blob)).await.unwrap();
        if side.store.is_folder() {
            for number in 0..10 {
                let time = std::time::SystemTime::now() - Duration::from_secs(number * 60);
                let file = std::fs::File::open(side.store.path(&document(identity(number)))).unwrap();
                file.set_modified(time).unwrap();
            }
        }
        let index = LocalIndex::new(storage, HOUR, 45);
        index.rebuild().await;
        assert_eq!(index.bytes(), Some(40));
        let names = side.store.names().await;
        assert_eq!(names.iter().filter(|name| name.starts_with("entries/")).count(), 4, "{names:?}");
        if side.store.is_folder() {
            for number in 0..10 {
                assert_eq!(index.get(identity(number)).await.is_some(), number < 4, "{number}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swept_results_are_removed_from_the_index() {
    for side in [Side::here(), Side { store: Backend::bucket().await, server: None }] {
        let storage = side.store.open_with(|config| config.max_bytes = 3000);
        let index = LocalIndex::new(storage.clone(), HOUR, ROOM);
        let put = |number: u64| {
            let content = noise(number, 500);
            let Entry::Result(info) = result(number, 500) else { panic!() };
            let info = ResultInfo { hash: blake3::hash(&content), ..info };
            let (storage, index) = (&storage, &index);
            async move {
                storage.put_blob(Blob::Memory(content.into()), &info.hash).await.unwrap();
                index.put(identity(number), Entry::Result(info)).await;
            }
        };
        for number in 0..20 {
            put(number).await;
        }
        index.put(identity(100), failure()).await;
        assert_eq!(index.bytes(), Some(10_000));
        let swept = storage.sweep(SystemTime::now()).await.unwrap();
        assert!(swept.kept_bytes <= 3000, "{swept:?}");
        let blobs = side.store.names().await.iter().filter(|name| name.starts_with("blobs/")).count();
        assert_eq!(index.bytes(), Some(500 * blobs as u64));
        assert!(index.get(identity(100)).await.is_some(), "a failure needs no result");
        // Entries added meanwhile are found.
        put(20).await;
        assert_eq!(index.bytes(), Some(500 * (blobs as u64 + 1)));
        assert!(index.get(identity(20)).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_one_holder_and_ends_when_dropped() {
    let side = Side::there();
    let (one, other) = (side.index(HOUR).await, side.index(HOUR).await);
    let lease = one.claim(identity(1)).await.unwrap();
    assert!(other.claim(identity(1)).await.is_none() && one.claim(identity(1)).await.is_none());
    assert!(other.claim(identity(2)).await.is_some());
    // A lease that another process took over is not released.
    let key = format!("meshgate:lease:{}", identity(1).to_hex());
    let server = side.server.as_ref().unwrap();
    server.connection().set::<_, _, ()>(&key, "somebody else's").unwrap();
    drop(lease);
    // Runs after the release that drop sends.
    one.put(identity(3), failure()).await;
    let holder: String = server.connection().get(&key).unwrap();
    assert_eq!(holder, "somebody else's");
    server.connection().del::<_, ()>(&key).unwrap();

    let lease = one.claim(identity(1)).await.unwrap();
    drop(lease);
    let began = Instant::now();
    while other.claim(identity(1)).await.is_none() {
        assert!(began.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
