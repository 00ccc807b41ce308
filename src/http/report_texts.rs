//! The texts of reports that are being sent: one text however many clients read it, and all of them within a bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::problem::Problem;
use crate::domain::ErrorCode;

/// Bytes of the texts of all reports that are being sent.
const MOST: usize = 64 << 20;

/// Reports that are fetched and written at a time.
const WRITTEN_AT_ONCE: usize = 16;

/// When a client that was refused may try again: by then the slowest reader of a usual report has it.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Which report is asked for, and for whom: no other API key is given the text that one may read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    pub id: Uuid,
    pub owner: Option<Arc<str>>,
}

/// The texts of reports that are being sent.
#[derive(Debug)]
pub struct Sending {
    kept: Arc<Kept>,
    pub writing: Semaphore,
}

#[derive(Debug)]
struct Kept {
    most: usize,
    texts: Mutex<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    bytes: usize,
    by_question: HashMap<Asked, Weak<Written>>,
}

/// A text, until the last reader has it.
#[derive(Debug)]
struct Written {
    json: Vec<u8>,
    asked: Asked,
    kept: Arc<Kept>,
}

/// One reader's handle to a text.
#[derive(Debug, Clone)]
pub struct Text(Arc<Written>);

impl Default for Sending {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Sending {
    fn new(most: usize) -> Self {
        Self {
            kept: Arc::new(Kept { most, texts: Mutex::default() }),
            writing: Semaphore::new(WRITTEN_AT_ONCE),
        }
    }

    pub fn find(&self, asked: &Asked) -> Option<Text> {
        self.kept.texts().by_question.get(asked)?.upgrade().map(Text)
    }

    /// Shares a text with those who ask for it while it is being sent.
    ///
    /// # Errors
    /// `overloaded`
    pub fn share(&self, asked: Asked, json: Vec<u8>) -> Result<Text, Problem> {
        if let Some(text) = self.find(&asked) {
            return Ok(text);
        }
        let mut texts = self.kept.texts();
        // One that is larger than all may be together is sent alone.
        if texts.bytes > 0 && texts.bytes + json.len() > self.kept.most {
            let detail =
                "the reports that are being sent take as much memory as they may; try again in a moment";
            return Err(Problem {
                retry_after: Some(TRY_AGAIN),
                ..Problem::new(ErrorCode::Overloaded, detail)
            });
        }
        texts.bytes += json.len();
        let written = Arc::new(Written { json, asked: asked.clone(), kept: Arc::clone(&self.kept) });
        texts.by_question.insert(asked, Arc::downgrade(&written));
        Ok(Text(written))
    }
}

impl Kept {
    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let mut texts = self.kept.texts();
        texts.bytes -= self.json.len();
        // Another one of this number may have been written meanwhile.
        if texts.by_question.get(&self.asked).is_some_and(|text| text.strong_count() == 0) {
            texts.by_question.remove(&self.asked);
        }
    }
}

impl Text {
    /// The text itself, not a copy.
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
    fn another_key_is_not_given_the_text() {
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
        // Written twice at a time, it is kept once.
        let second = sending.share(asked.clone(), vec![b'a'; 600]).unwrap().bytes();
        assert_eq!(second.as_ptr(), first.as_ptr());
        assert_eq!(sending.kept.texts().bytes, 600);
        drop((first, second));
        assert!(sending.find(&asked).is_some(), "it is still being read");
        drop(readers);
        assert!(sending.find(&asked).is_none());
        let texts = sending.kept.texts();
        assert_eq!((texts.bytes, texts.by_question.len()), (0, 0));
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
