//! Servers that are away, and keys and arguments that are wrong.

use super::{Desk, ID, Ran};
use crate::gateway::Gateway;
use crate::gateway::receive::triangle;

/// A command of each kind.
fn commands() -> [String; 5] {
    [
        "submit duck.glb --to gltf --watch".to_owned(),
        "list".to_owned(),
        format!("watch {ID}"),
        format!("get {ID}"),
        format!("cancel {ID}"),
    ]
}

#[test]
fn a_server_that_is_away_is_an_error_at_once() {
    let desk = Desk::with("duck.glb", triangle());
    for words in commands() {
        // Nothing listens on port 1.
        let ran = desk.run("http://127.0.0.1:1", &words);
        assert!(
            ran.err.starts_with("meshgate: could not connect to http://127.0.0.1:1: "),
            "{words}: {ran:?}"
        );
        ran.failed(&["check --server"]);
    }
    assert_eq!(desk.names(), ["duck.glb"]);
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let desk = Desk::with("duck.glb", triangle());
    for (server, words, expected) in [
        ("", "list", "no server; add --server URL"),
        ("localhost:5000", "list", "takes an http or https URL"),
        ("http://user:secret@localhost", "list", "takes an http or https URL"),
        ("http://a", "list --server b", "takes an http or https URL"),
        ("http://127.0.0.1:1", "get nonsense", "nonsense is not the ID of a job"),
        ("http://127.0.0.1:1", "submit no.glb --to gltf", "could not open no.glb"),
        ("http://127.0.0.1:1", "submit . --to gltf", ". is a folder"),
        ("http://127.0.0.1:1", "submit duck.glb", "--to"),
        ("http://127.0.0.1:1", "submit duck.glb --to stl --draco", "option draco works for glb and gltf"),
        ("http://127.0.0.1:1", "submit duck.glb --to gltf --force", "--output"),
        ("http://127.0.0.1:1", "submit duck.glb --to gltf --json -o -", "--json and the model"),
    ] {
        let ran = desk.run(server, words);
        assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""), "{words}: {ran:?}");
        assert!(ran.err.contains(expected) && !ran.err.contains("secret"), "{words}: {ran:?}");
    }
}

const KEY: &str = "aaaaaaaaaaaaaaaa";

#[test]
fn a_key_is_sent_and_never_shown() {
    let gateway = Gateway::start_cold(&[("API_KEYS", "studio:aaaaaaaaaaaaaaaa")]);
    let desk = Desk::with("duck.glb", triangle());
    let run = |words: &str, variables: &[(&str, &str)]| {
        let mut command = desk.command(&gateway.address, words);
        command.envs(variables.iter().copied());
        Ran::end_of(command)
    };
    for words in commands() {
        run(&words, &[]).failed(&["asks for an API key; set MESHGATE_API_KEY (unauthorized, request "]);
        let wrong = run(&words, &[("MESHGATE_API_KEY", "wrong")]);
        wrong.failed(&["check MESHGATE_API_KEY (unauthorized, request "]);
    }

    desk.put("key", format!("{KEY}\n"));
    for variable in [("MESHGATE_API_KEY", KEY), ("MESHGATE_API_KEY_FILE", "key")] {
        let words = "submit duck.glb --to gltf --watch --json";
        let ran = run(words, &[variable, ("LOG_LEVEL", "trace")]).succeeded();
        assert!(!ran.err.contains(KEY) && !ran.out.contains(KEY), "{ran:?}");
    }
    let ran = run("list", &[("MESHGATE_API_KEY", "line\nbreak")]);
    assert_eq!(ran.code, Some(64), "{ran:?}");
}

#[test]
fn problems_are_shown_with_their_request() {
    let gateway = Gateway::start_cold(&[]);
    let desk = Desk::with("duck.glb", triangle());
    let unknown = uuid::Uuid::now_v7();
    for words in [format!("watch {unknown}"), format!("get {unknown}"), format!("cancel {unknown}")] {
        desk.run(&gateway.address, &words).failed(&["no job has this ID (not_found, request "]);
    }
    let words = "submit duck.glb --to gltf --webhook-url https://example.com/hook";
    desk.run(&gateway.address, words).failed(&["(webhook_refused, request "]);
}
