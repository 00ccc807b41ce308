//! What this process may do, as `doctor` shows it.

use serde_json::{Value, json};

use super::server::{Answer, Exchange, expect, refusal, serve};
use crate::executor::kubernetes::{NEEDED, Trouble};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

fn review(body: &'static str, status: &Value) -> Exchange {
    let answer = Answer::Json(201, json!({"metadata": {}, "spec": {}, "status": status}));
    Exchange { body, ..expect("POST", REVIEWS, answer) }
}

#[tokio::test(start_paused = true)]
async fn each_verb_is_asked_about() {
    let verbs: usize = NEEDED.iter().map(|(_, _, verbs)| verbs.len()).sum();
    let mut exchanges: Vec<Exchange> =
        (1..verbs).map(|_| review(r#""namespace":"shop""#, &json!({"allowed": true}))).collect();
    let create = r#""group":"batch","namespace":"shop","resource":"jobs","verb":"create""#;
    exchanges.insert(0, review(create, &json!({"allowed": false, "reason": "no RBAC policy matched"})));
    let (kubernetes, served) = serve(exchanges);
    let found = kubernetes.access().await.unwrap();
    assert_eq!(found.len(), verbs);
    assert_eq!((found[0].verb, found[0].resource, found[0].allowed), ("create", "jobs", false));
    assert_eq!(found[0].reason, "no RBAC policy matched");
    assert!(found[1..].iter().all(|access| access.allowed && access.reason.is_empty()));
    let events = found.iter().filter(|access| access.resource == "events").map(|access| access.verb);
    assert_eq!(events.collect::<Vec<_>>(), ["list"]);
    drop(kubernetes);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_the_question_is_an_error() {
    let answer = refusal(401, "Unauthorized", "Unauthorized");
    let (kubernetes, served) = serve(vec![expect("POST", REVIEWS, answer)]);
    assert_eq!(kubernetes.access().await.unwrap_err().trouble, Trouble::Unauthorized);
    drop(kubernetes);
    served.await.unwrap();
}
