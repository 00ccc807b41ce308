//! The reports of the latest conversions, in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::domain::Report;

/// Most reports kept, and most memory for all of them, in bytes.
const KEPT: usize = 1000;
const KEPT_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub struct Reports(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Each with the API key that it belongs to; `None` if keys share the cache.
    reports: VecDeque<(Uuid, Option<Arc<str>>, Arc<Report>)>,
    bytes: usize,
}

impl Reports {
    /// Keeps a report and returns its ID. Drops the oldest reports above the limits.
    pub fn keep(&self, report: Arc<Report>, owner: Option<Arc<str>>) -> Uuid {
        let id = Uuid::now_v7();
        self.keep_as(id, report, owner);
        id
    }

    /// Keeps a report that has an ID already.
    pub fn keep_as(&self, id: Uuid, report: Arc<Report>, owner: Option<Arc<str>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += report.size();
        kept.reports.push_back((id, owner, report));
        while kept.reports.len() > KEPT || kept.bytes > KEPT_BYTES {
            let Some((_, _, oldest)) = kept.reports.pop_front() else { break };
            kept.bytes -= oldest.size();
        }
    }

    /// Returns the report with this ID, if it belongs to this owner.
    pub fn get(&self, id: Uuid, owner: Option<&str>) -> Option<Arc<Report>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = kept.reports.iter().rev();
        let found = latest.find(|(each, theirs, _)| *each == id && theirs.as_deref() == owner);
        found.map(|(_, _, report)| Arc::clone(report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Format;
    use crate::domain::report::{Contents, Counts, Timings};

    fn report(bytes: u64) -> Report {
        let contents = Contents { format: Format::Glb, bytes, files: 1, counts: Counts::default() };
        Report {
            input: contents.clone(),
            output: contents,
            losses: Vec::new(),
            warnings: Vec::new(),
            engine: "native".to_owned(),
            importer: None,
            timings: Timings::default(),
        }
    }

    #[test]
    fn the_latest_thousand_reports_are_kept() {
        let reports = Reports::default();
        let ids: Vec<Uuid> = (0..1001).map(|number| reports.keep(Arc::new(report(number)), None)).collect();
        assert!(reports.get(ids[0], None).is_none());
        for number in [1, 500, 1000] {
            assert_eq!(reports.get(ids[number], None).unwrap().input.bytes, number as u64);
        }
        assert_eq!(reports.0.lock().unwrap().reports.len(), 1000);
    }

    #[test]
    fn the_stored_bytes_are_limited() {
        let large = Report { losses: vec!["x".repeat(1 << 20)], ..report(1) };
        let reports = Reports::default();
        let ids: Vec<Uuid> = (0..30).map(|_| reports.keep(Arc::new(large.clone()), None)).collect();
        assert!(reports.get(ids[14], None).is_none() && reports.get(ids[15], None).is_some());
        assert!(reports.0.lock().unwrap().bytes <= KEPT_BYTES);
    }

    #[test]
    fn a_report_of_another_process_keeps_its_id() {
        let (reports, id) = (Reports::default(), Uuid::now_v7());
        reports.keep_as(id, Arc::new(report(7)), None);
        assert_eq!(reports.get(id, None).unwrap().input.bytes, 7);
    }

    #[test]
    fn only_its_owner_gets_a_report() {
        let reports = Reports::default();
        let id = reports.keep(Arc::new(report(1)), Some("studio".into()));
        assert!(reports.get(id, Some("studio")).is_some());
        for other in [None, Some("robot")] {
            assert!(reports.get(id, other).is_none(), "{other:?}");
        }
    }
}
