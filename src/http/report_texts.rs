//! The texts of reports that are being sent. Concurrent readers share a text, and the total size is bounded.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::problem::Problem;
use super::shares::{WeakMap, get_or_make};
use crate::domain::ErrorCode;

/// Largest total size of the texts being sent, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Reports that are fetched and serialized at a time.
const MAX_WRITING: usize = 16;

/// `Retry-After` of a refusal: by then, even a slow client has read a usual report.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A report, or a job with its report, and the API key that asks for it: keys do not share texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TextKey {
    pub id: Uuid,
    /// The version of the job; 0 for a report, which never changes.
    pub version: u64,
    pub owner: Option<Arc<str>>,
}

/// The texts of reports that are being sent.
#[derive(Debug)]
pub struct ReportTexts {
    texts: WeakMap<TextKey, Text>,
    max_bytes: usize,
    /// A permit for each byte of a text.
    room: Arc<Semaphore>,
    /// Permits to fetch and serialize a report.
    pub writing: Semaphore,
}

/// A text; its bytes count until the last reader drops it.
#[derive(Debug)]
struct Text {
    json: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// One reader's handle to a text.
struct Reader(Arc<Text>);

impl AsRef<[u8]> for Reader {
    fn as_ref(&self) -> &[u8] {
        &self.0.json
    }
}

impl Default for ReportTexts {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

impl ReportTexts {
    fn new(max_bytes: usize) -> Self {
        let room = Arc::new(Semaphore::new(max_bytes));
        Self { texts: Mutex::default(), max_bytes, room, writing: Semaphore::new(MAX_WRITING) }
    }

    /// Returns a text that is being sent, without copying it.
    pub fn find(&self, key: &TextKey) -> Option<Bytes> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let text = texts.get(key).and_then(Weak::upgrade)?;
        Some(Bytes::from_owner(Reader(text)))
    }

    /// Shares a text with later requests for it, as long as it is being sent.
    ///
    /// # Errors
    /// `overloaded` if all texts together would exceed the limit.
    pub fn share(&self, key: TextKey, json: Vec<u8>) -> Result<Bytes, Problem> {
        let text = get_or_make(&self.texts, key, || {
            // A text above the limit is sent alone.
            let bytes = json.len().min(self.max_bytes) as u32;
            let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| {
                let detail = "too many reports are being sent; try again in a moment";
                Problem::new(ErrorCode::Overloaded, detail).with_retry_after(TRY_AGAIN)
            })?;
            Ok(Text { json, _room: room })
        })?;
        Ok(Bytes::from_owner(Reader(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(owner: Option<&str>) -> TextKey {
        TextKey { id: Uuid::now_v7(), version: 0, owner: owner.map(Arc::from) }
    }

    #[test]
    fn owners_do_not_share_report_texts() {
        let texts = ReportTexts::new(1000);
        let own = key(Some("one"));
        let _reading = texts.share(own.clone(), vec![b'a'; 600]).unwrap();
        assert!(texts.find(&own).is_some());
        assert!(texts.find(&TextKey { owner: Some("two".into()), ..own }).is_none());
    }

    #[test]
    fn readers_of_one_report_share_its_text() {
        let texts = ReportTexts::new(1000);
        let key = key(None);
        let first = texts.share(key.clone(), vec![b'a'; 600]).unwrap();
        let readers: Vec<_> = (0..1000).map(|_| texts.find(&key).unwrap()).collect();
        assert!(readers.iter().all(|text| text.as_ptr() == first.as_ptr()));
        // A report serialized twice at the same time is stored once.
        let second = texts.share(key.clone(), vec![b'a'; 600]).unwrap();
        assert_eq!(second.as_ptr(), first.as_ptr());
        assert_eq!(texts.room.available_permits(), 400);
        drop((first, second));
        assert!(texts.find(&key).is_some(), "it is still being read");
        drop(readers);
        assert!(texts.find(&key).is_none());
        assert_eq!(texts.room.available_permits(), 1000);
        let _other = texts.share(TextKey { id: Uuid::now_v7(), ..key }, vec![b'a'; 600]).unwrap();
        assert_eq!(texts.texts.lock().unwrap().len(), 1, "the entry of the first is left");
    }

    #[test]
    fn the_total_size_of_report_texts_is_limited() {
        let texts = ReportTexts::new(1000);
        let large = texts.share(key(None), vec![b'a'; 2000]).unwrap();
        let refused = texts.share(key(None), vec![b'a'; 1]).unwrap_err();
        assert_eq!((refused.error.code, refused.retry_after), (ErrorCode::Overloaded, Some(TRY_AGAIN)));
        drop(large);
        let many: Vec<_> = (0..10).map(|_| texts.share(key(None), vec![b'a'; 100]).unwrap()).collect();
        assert!(texts.share(key(None), vec![b'a'; 1]).is_err());
        drop(many);
        assert!(texts.share(key(None), vec![b'a'; 1]).is_ok());
    }
}
