//! Where a job runs, if its client cares.

use serde::{Deserialize, Serialize};

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorChoice {
    /// In a worker.
    Local,
    /// In a Kubernetes Job of its own.
    Kubernetes,
}

impl ExecutorChoice {
    pub const ALL: [ExecutorChoice; 2] = [ExecutorChoice::Kubernetes, ExecutorChoice::Local];

    /// The name in the API and in the record.
    pub const fn word(self) -> &'static str {
        match self {
            ExecutorChoice::Local => "local",
            ExecutorChoice::Kubernetes => "kubernetes",
        }
    }

    pub fn from_word(word: &str) -> Option<ExecutorChoice> {
        ExecutorChoice::ALL.into_iter().find(|choice| choice.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_executors_are_read_again() {
        for choice in ExecutorChoice::ALL {
            assert_eq!(ExecutorChoice::from_word(choice.word()), Some(choice));
            assert_eq!(serde_json::to_value(choice).unwrap(), choice.word());
        }
        assert_eq!(ExecutorChoice::from_word("remote"), None);
    }
}
