//! The texts of reports that are being sent. Concurrent readers share a text, and the total size is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::problem::Problem;
use crate::domain::ErrorCode;

/// Largest total size of the texts being sent, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Reports that are fetched and serialized at a time.
const MAX_WRITING: usize = 16;

/// `Retry-After` of a refusal: by then, even a slow client has read a usual report.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A report and the API key that asks for it: keys do not share texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    pub id: Uuid,
    pub owner: Option<Arc<str>>,
}

/// The texts of reports that are being sent.
#[derive(Debug)]
pub struct Sending {
    store: Arc<Store>,
    /// Permits to fetch and serialize a report.
    pub writing: Semaphore,
}

#[derive(Debug)]
struct Store {
    max_bytes: usize,
    texts: Mutex<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    bytes: usize,
    by_request: HashMap<Asked, Weak<SharedText>>,
}

/// A text; its bytes count until the last reader drops it.
#[derive(Debug)]
struct SharedText {
    json: Vec<u8>,
    asked: Asked,
    store: Arc<Store>,
}

/// One reader's handle to a text.
#[derive(Debug, Clone)]
pub struct Text(Arc<SharedText>);

impl Default for Sending {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

impl Sending {
    fn new(max_bytes: usize) -> Self {
        Self {
            store: Arc::new(Store { max_bytes, texts: Mutex::default() }),
            writing: Semaphore::new(MAX_WRITING),
        }
    }

    /// Returns a text that is being sent.
    pub fn find(&self, asked: &Asked) -> Option<Text> {
        self.store.texts().by_request.get(asked)?.upgrade().map(Text)
    }

    /// Shares a text with later requests for it, as long as it is being sent.
    ///
    /// # Errors
    /// `overloaded` if all texts together would exceed the limit.
    pub fn share(&self, asked: Asked, json: Vec<u8>) -> Result<Text, Problem> {
        if let Some(text) = self.find(&asked) {
            return Ok(text);
        }
        let mut texts = self.store.texts();
        // A text above the limit is sent alone.
        if texts.bytes > 0 && texts.bytes + json.len() > self.store.max_bytes {
            let detail = "too many reports are being sent; try again in a moment";
            return Err(Problem {
                retry_after: Some(TRY_AGAIN),
                ..Problem::new(ErrorCode::Overloaded, detail)
            });
        }
        texts.bytes += json.len();
        let text = Arc::new(SharedText { json, asked: asked.clone(), store: Arc::clone(&self.store) });
        texts.by_request.insert(asked, Arc::downgrade(&text));
        Ok(Text(text))
    }
}

impl Store {
    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SharedText {
    fn drop(&mut self) {
        let mut texts = self.store.texts();
        texts.bytes -= self.json.len();
        // A new text of the same report may have replaced this one.
        if texts.by_request.get(&self.asked).is_some_and(|text| text.strong_count() == 0) {
            texts.by_request.remove(&self.asked);
        }
    }
}

impl Text {
    /// Returns the text without copying it.
    pub fn bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(owner: Option<&str>) -> Asked {
        Asked { id: Uuid::now_v7(), owner: owner.map(Arc::from) }
    }

    #[test]
    fn keys_do_not_share_texts() {
        let sending = Sending::new(1000);
        let own = asked(Some("one"));
        let _reading = sending.share(own.clone(), vec![b'a'; 600]).unwrap();
        assert!(sending.find(&own).is_some());
        assert!(sending.find(&Asked { owner: Some("two".into()), ..own }).is_none());
    }

    #[test]
    fn readers_of_one_report_share_its_text() {
        let sending = Sending::new(1000);
        let asked = asked(None);
        let first = sending.share(asked.clone(), vec![b'a'; 600]).unwrap().bytes();
        let readers: Vec<_> = (0..1000).map(|_| sending.find(&asked).unwrap().bytes()).collect();
        assert!(readers.iter().all(|text| text.as_ptr() == first.as_ptr()));
        // A report serialized twice at the same time is stored once.
        let second = sending.share(asked.clone(), vec![b'a'; 600]).unwrap().bytes();
        assert_eq!(second.as_ptr(), first.as_ptr());
        assert_eq!(sending.store.texts().bytes, 600);
        drop((first, second));
        assert!(sending.find(&asked).is_some(), "it is still being read");
        drop(readers);
        assert!(sending.find(&asked).is_none());
        let texts = sending.store.texts();
        assert_eq!((texts.bytes, texts.by_request.len()), (0, 0));
    }

    #[test]
    fn all_texts_together_are_bounded() {
        let sending = Sending::new(1000);
        let large = sending.share(asked(None), vec![b'a'; 2000]).unwrap();
        let refused = sending.share(asked(None), vec![b'a'; 1]).unwrap_err();
        assert_eq!((refused.error.code, refused.retry_after), (ErrorCode::Overloaded, Some(TRY_AGAIN)));
        drop(large);
        let texts: Vec<_> = (0..10).map(|_| sending.share(asked(None), vec![b'a'; 100]).unwrap()).collect();
        assert!(sending.share(asked(None), vec![b'a'; 1]).is_err());
        drop(texts);
        assert!(sending.share(asked(None), vec![b'a'; 1]).is_ok());
    }
}
