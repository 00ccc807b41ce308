//! Places for webhooks that are being sent. One host has some of them at most, so that a receiver that does not answer
//! keeps no other one waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use url::Url;

/// Webhooks that are sent to one host at a time.
const PER_HOST: u32 = 8;

/// The pause of a webhook that finds no place. It grows with every [`PER_HOST`] of them, up to the longest: otherwise
/// thousands of webhooks for one host would be taken and put back every few seconds.
const PAUSE: Duration = Duration::from_secs(4);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The places of all hosts. Clones share them.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<String, Host>>>);

/// The webhooks of one host, of which at least one is being sent.
#[derive(Default)]
struct Host {
    sending: u32,
    /// Webhooks that found no place since one became free.
    put_back: u32,
}

/// A place, until it is dropped.
pub struct Place {
    places: Places,
    host: String,
}

impl Places {
    /// Takes a place for a webhook to this URL.
    ///
    /// # Errors
    /// The pause before the webhook should be taken again, when its host has no place left.
    pub fn take(&self, url: &Url) -> Result<Place, Duration> {
        let name = url.host_str().unwrap_or_default().trim_end_matches('.');
        let mut hosts = self.lock();
        let host = hosts.entry(name.to_owned()).or_default();
        if host.sending == PER_HOST {
            let pause = PAUSE * (1 + host.put_back / PER_HOST);
            host.put_back = host.put_back.saturating_add(1);
            return Err(pause.min(LONGEST_PAUSE));
        }
        host.sending += 1;
        Ok(Place { places: self.clone(), host: name.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut hosts = self.places.lock();
        let Some(host) = hosts.get_mut(&self.host) else { return };
        host.sending -= 1;
        host.put_back = 0;
        if host.sending == 0 {
            hosts.remove(&self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn one_host_has_some_of_the_places() {
        let places = Places::default();
        let take = |text: &str| places.take(&url(text));
        // Neither the port nor the spelling of the name makes another host of it.
        let urls = ["https://a.example/1", "http://a.example:8080/", "https://A.example./2?b=c"];
        let mut taken: Vec<_> =
            (0..PER_HOST as usize).map(|at| take(urls[at % urls.len()]).unwrap()).collect();
        for text in urls {
            assert_eq!(take(text).err(), Some(PAUSE));
        }
        let other = take("https://b.example/").unwrap();
        taken.pop();
        taken.push(take(urls[0]).unwrap());
        assert_eq!(take(urls[0]).err(), Some(PAUSE));
        drop((taken, other));
        assert!(places.lock().is_empty());
    }

    #[test]
    fn pauses_grow_with_the_webhooks_that_wait() {
        let places = Places::default();
        let url = url("https://a.example/");
        let mut taken: Vec<_> = (0..PER_HOST).map(|_| places.take(&url).unwrap()).collect();
        let pauses: Vec<_> = (0..1000).map(|_| places.take(&url).err().unwrap()).collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[PER_HOST as usize]), (PAUSE, 2 * PAUSE));
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        taken.pop();
        taken.push(places.take(&url).unwrap());
        assert_eq!(places.take(&url).err(), Some(PAUSE));
    }
}
