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
    pub fn keep(&self, report: Report) -> Uuid {
        let id = Uuid::now_v7();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((id, Arc::new(report)));
        id
    }

    pub fn get(&self, id: Uuid) -> Option<Arc<Report>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find(|(each, _)| *each == id).map(|(_, report)| Arc::clone(report))
    }
}
