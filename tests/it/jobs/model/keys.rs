//! The model of keys for idempotency. It accepts several answers where the trait does not say which rule goes first.

use std::collections::HashMap;

use meshgate::jobs::{Refusal, Reservation};

use super::step::KeyUse;

/// The keys of all clients, by client and name.
#[derive(Default)]
pub struct Keys(HashMap<(usize, u8), Known>);

#[derive(Clone, Copy, Default)]
struct Known {
    used: Option<Used>,
    holder: Holder,
}

/// The content that a key stands for, and its job.
#[derive(Clone, Copy)]
struct Used {
    content: u8,
    job: usize,
}

/// Who has reserved a key.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Nobody,
    Token(u128),
    /// Perhaps a token, perhaps nobody.
    Unknown,
}

/// The answer to a submission, with the number of a job in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    New,
    Replayed(usize),
    Refused(Refusal),
}

impl Keys {
    fn known(&self, client: usize, key: KeyUse) -> Known {
        self.0.get(&(client, key.name)).copied().unwrap_or_default()
    }

    fn holder(&mut self, client: usize, key: KeyUse) -> &mut Holder {
        &mut self.0.entry((client, key.name)).or_default().holder
    }

    /// The answers that a submission may have. `without_key`: those to the same job without a key.
    pub fn answers(
        &self,
        client: usize,
        key: KeyUse,
        without_key: Vec<Answer>,
        is_removed: impl Fn(usize) -> bool,
    ) -> Vec<Answer> {
        let Known { used, holder } = self.known(client, key);
        let mut answers = match used {
            None => without_key,
            Some(used) if used.content != key.content => vec![Answer::Refused(Refusal::KeyReused)],
            Some(used) if is_removed(used.job) => without_key,
            Some(used) => vec![Answer::Replayed(used.job)],
        };
        if holder != Holder::Nobody && holder != Holder::Token(key.token) {
            answers.push(Answer::Refused(Refusal::KeyInFlight));
            if used.is_none() && holder != Holder::Unknown {
                answers.retain(|answer| *answer != Answer::New);
            }
        }
        answers
    }

    /// Records the answer to a submission; `job`: the number of the job, if it is new.
    pub fn submitted(&mut self, client: usize, key: KeyUse, answer: Answer, job: usize) {
        let known = self.0.entry((client, key.name)).or_default();
        if answer == Answer::New {
            *known = Known { used: Some(Used { content: key.content, job }), holder: Holder::Nobody };
        } else if known.holder == Holder::Token(key.token) {
            known.holder = Holder::Unknown;
        }
    }

    /// Checks and records the answer to a reservation.
    pub fn reserved(&mut self, client: usize, key: KeyUse, answer: Reservation) {
        let Known { used, holder } = self.known(client, key);
        let is_mine = holder == Holder::Nobody || holder == Holder::Token(key.token);
        let is_anothers = !is_mine && holder != Holder::Unknown && used.is_none();
        match answer {
            Reservation::Reserved => assert!(!is_anothers, "another token has reserved it"),
            Reservation::InFlight => assert!(!is_mine, "no other token has reserved it"),
        }
        if answer == Reservation::Reserved {
            *self.holder(client, key) = Holder::Token(key.token);
        }
    }

    pub fn released(&mut self, client: usize, key: KeyUse) {
        let holder = self.holder(client, key);
        if *holder == Holder::Token(key.token) {
            *holder = Holder::Nobody;
        }
    }

    /// A queue may forget at its start which requests were in flight.
    pub fn reopened(&mut self) {
        for known in self.0.values_mut().filter(|known| known.holder != Holder::Nobody) {
            known.holder = Holder::Unknown;
        }
    }
}
