//! The files for Prometheus and Grafana.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file of `docs/observability`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability").join(name)
}

/// Every metric of Meshgate and the process in the alerts and the dashboard.
pub fn metrics_asked_for() -> BTreeSet<String> {
    let mut asked = BTreeSet::new();
    for name in ["alerts.yml", "dashboard.json"] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("meshgate_") || word.starts_with("process_") {
                asked.insert(word.to_owned());
            }
        }
    }
    asked
}

/// Whether the list of metrics in the documents contains this one.
pub fn is_listed(metric: &str) -> bool {
    let text = std::fs::read_to_string(file("README.md")).unwrap();
    text.lines().filter(|line| line.starts_with("| `")).any(|line| line.contains(&format!("`{metric}`")))
}

#[test]
fn every_alert_has_a_test() {
    let tests = std::fs::read_to_string(file("alerts_test.yml")).unwrap();
    let alerts = std::fs::read_to_string(file("alerts.yml")).unwrap();
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!names.is_empty());
    for name in names {
        // Each alert is tested in a case where it must fire and in one where it must not.
        let fires = format!("alertname: {name}\n        exp_alerts:");
        let rests = format!("alertname: {name}}}");
        assert!(tests.contains(&fires) && tests.contains(&rests), "{name}");
    }
}

#[test]
fn the_dashboard_works_with_any_data_source() {
    let text = std::fs::read_to_string(file("dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|each| each["name"] == "datasource" && each["type"] == "datasource"));
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
        }
    }
}
