//! The reports of the latest conversions, for those who ask afterwards.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::domain::Report;

/// How many are kept.
const KEPT: usize = 1000;

#[derive(Debug, Default)]
pub struct Reports(Mutex<VecDeque<(Uuid, Arc<Report>)>>);

impl Reports {
    /// Keeps a report, and says under which number. The oldest gives way.
    pub fn keep(&self, report: Arc<Report>) -> Uuid {
        let id = Uuid::now_v7();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((id, report));
        id
    }

    pub fn get(&self, id: Uuid) -> Option<Arc<Report>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find(|(each, _)| *each == id).map(|(_, report)| Arc::clone(report))
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
        assert_eq!(reports.0.lock().unwrap().len(), 1000);
    }
}
