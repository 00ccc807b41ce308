//! `meshgate schema`: prints the JSON Schema of a report, for programs that read reports.

use crate::domain::Report;

pub fn text() -> String {
    format!("{:#}", schemars::schema_for!(Report).as_value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_current() {
        let committed = include_str!("../../docs/report.schema.json");
        assert_eq!(committed.trim_end(), text(), "run: meshgate schema > docs/report.schema.json");
    }
}
