//! Places for webhooks that are being sent. One host has some of them at most, so that a receiver that does not answer
//! keeps no other one waiting, and so has one client, whatever hosts it names.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use url::Url;

use crate::domain::Client;

/// Webhooks that are sent to one host at a time.
const PER_HOST: u32 = 8;

/// Webhooks of one client that are sent at a time: half of all places.
const PER_CLIENT: u32 = 16;

/// The pause of a webhook that finds no place. It grows with every [`PER_HOST`] or [`PER_CLIENT`] of them, up to the longest:
/// otherwise thousands of webhooks for one host would be taken and put back every few seconds.
const PAUSE: Duration = Duration::from_secs(4);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The places that are taken. Clones share them.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    hosts: HashMap<String, Group>,
    clients: HashMap<Client, Group>,
}

/// The webhooks of one host or client, of which at least one is being sent.
#[derive(Default)]
struct Group {
    sending: u32,
    /// Webhooks that found no place since one became free.
    put_back: u32,
}

/// A place, until it is dropped.
pub struct Place {
    places: Places,
    client: Client,
    host: String,
}

impl Places {
    /// Takes a place for a webhook of a client to this URL.
    ///
    /// # Errors
    /// The pause before the webhook should be taken again, when its host or its client has no place left.
    pub fn take(&self, client: &Client, url: &Url) -> Result<Place, Duration> {
        let name = url.host_str().unwrap_or_default().trim_end_matches('.');
        let mut taken = self.lock();
        let Taken { hosts, clients } = &mut *taken;
        let groups = [(hosts.get_mut(name), PER_HOST), (clients.get_mut(client), PER_CLIENT)];
        for (group, limit) in groups {
            if let Some(group) = group
                && group.sending == limit
            {
                let pause = PAUSE * (1 + group.put_back / limit);
                group.put_back = group.put_back.saturating_add(1);
                return Err(pause.min(LONGEST_PAUSE));
            }
        }
        hosts.entry(name.to_owned()).or_default().sending += 1;
        clients.entry(client.clone()).or_default().sending += 1;
        Ok(Place { places: self.clone(), client: client.clone(), host: name.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        leave(&mut taken.hosts, &self.host);
        leave(&mut taken.clients, &self.client);
    }
}

/// Frees a place of a group. One without places in use is removed.
fn leave<K: Eq + Hash>(groups: &mut HashMap<K, Group>, name: &K) {
    let Some(group) = groups.get_mut(name) else { return };
    group.sending -= 1;
    group.put_back = 0;
    if group.sending == 0 {
        groups.remove(name);
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
        let take = |text: &str| places.take(&Client::Local, &url(text));
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
        assert!(places.lock().hosts.is_empty() && places.lock().clients.is_empty());
    }

    #[test]
    fn one_client_has_some_of_the_places() {
        let places = Places::default();
        let (one, other) = (Client::Key("one".into()), Client::Key("other".into()));
        let host = |number: u32| url(&format!("https://{number}.example/"));
        let mut taken: Vec<_> =
            (0..PER_CLIENT).map(|number| places.take(&one, &host(number)).unwrap()).collect();
        assert_eq!(places.take(&one, &host(PER_CLIENT)).err(), Some(PAUSE));
        let beside = places.take(&other, &host(0)).unwrap();
        taken.pop();
        taken.push(places.take(&one, &host(PER_CLIENT)).unwrap());
        assert_eq!(places.take(&one, &host(0)).err(), Some(PAUSE));
        drop((taken, beside));
        assert!(places.lock().hosts.is_empty() && places.lock().clients.is_empty());
    }

    #[test]
    fn pauses_grow_with_the_webhooks_that_wait() {
        let places = Places::default();
        let url = url("https://a.example/");
        let take = || places.take(&Client::Local, &url);
        let mut taken: Vec<_> = (0..PER_HOST).map(|_| take().unwrap()).collect();
        let pauses: Vec<_> = (0..1000).map(|_| take().err().unwrap()).collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[PER_HOST as usize]), (PAUSE, 2 * PAUSE));
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        taken.pop();
        taken.push(take().unwrap());
        assert_eq!(take().err(), Some(PAUSE));
    }
}
