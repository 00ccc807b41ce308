//! The reports of the latest conversions, for those who ask afterwards.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::domain::Report;

/// How many are kept, and how much memory they take together, in bytes.
const KEPT: usize = 1000;
const KEPT_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub struct Reports(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    reports: VecDeque<(Uuid, Arc<Report>)>,
    bytes: usize,
}

impl Reports {
    /// Keeps a report, and says under which number. The oldest ones give way.
    pub fn keep(&self, report: Arc<Report>) -> Uuid {
        let id = Uuid::now_v7();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += report.size();
        kept.reports.push_back((id, report));
        while kept.reports.len() > KEPT || kept.bytes > KEPT_BYTES {
            let Some((_, oldest)) = kept.reports.pop_front() else { break };
            kept.bytes -= oldest.size();
        }
        id
    }

    pub fn get(&self, id: Uuid) -> Option<Arc<Report>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.reports.iter().rev().find(|(each, _)| *each == id).map(|(_, report)| Arc::clone(report))
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
    fn the_latest_thousand_are_kept() {
        let reports = Reports::default();
        let ids: Vec<Uuid> = (0..1001).map(|number| reports.keep(Arc::new(report(number)))).collect();
        assert!(reports.get(ids[0]).is_none());
        for number in [1, 500, 1000] {
            assert_eq!(reports.get(ids[number]).unwrap().input.bytes, number as u64);
        }
        assert_eq!(reports.0.lock().unwrap().reports.len(), 1000);
    }

    #[test]
    fn so_many_bytes_are_kept() {
        let large = Report { losses: vec!["x".repeat(1 << 20)], ..report(1) };
        let reports = Reports::default();
        let ids: Vec<Uuid> = (0..30).map(|_| reports.keep(Arc::new(large.clone()))).collect();
        assert!(reports.get(ids[14]).is_none() && reports.get(ids[15]).is_some());
        assert!(reports.0.lock().unwrap().bytes <= KEPT_BYTES);
    }
}
