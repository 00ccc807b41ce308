//! The body of a webhook: which job ended and how. A client asks for everything else, with its API key.

use serde_json::json;

use crate::jobs::Delivery;

/// Returns the JSON, which is the same for all attempts since a job that has ended does not change.
pub fn body(delivery: &Delivery) -> String {
    let job = &delivery.job;
    let state = job.state.word();
    let payload = json!({
        "type": format!("job.{state}"),
        "timestamp": delivery.occurred_at.to_rfc3339(),
        "data": { "id": job.id, "state": state, "output_format": job.spec.target.to_string() },
    });
    payload.to_string()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::Client;
    use crate::jobs::{Job, JobSpec, State, Timestamp};

    fn delivery(state: State) -> Delivery {
        let spec = JobSpec::sample(Client::Local);
        let job = Job {
            id: Uuid::from_u128(7),
            spec,
            state,
            version: 3,
            created_at: Timestamp(0),
            started_at: None,
            ended_at: Some(Timestamp(1_700_000_000_120)),
            expires_at: Timestamp(2_000_000_000_000),
            attempts: 1,
            progress: None,
            result: None,
            error: None,
            cancel_requested: false,
            memory_factor: 1,
            events: vec![],
            deliveries: vec![],
        };
        let url = "https://example.com/hook".parse().unwrap();
        let occurred_at = Timestamp(1_700_000_000_120);
        Delivery { id: Uuid::from_u128(8), job, url, occurred_at, attempts: 0, token: 1 }
    }

    #[test]
    fn the_body_says_which_job_ended_and_how() {
        for (state, word) in [
            (State::Succeeded, "succeeded"),
            (State::Failed, "failed"),
            (State::Cancelled, "cancelled"),
            (State::Expired, "expired"),
        ] {
            let expected = format!(
                r#"{{"type":"job.{word}","timestamp":"2023-11-14T22:13:20.120Z","data":{{"id":"00000000-0000-0000-0000-000000000007","state":"{word}","output_format":"glb"}}}}"#
            );
            assert_eq!(body(&delivery(state)), expected);
        }
    }
}
