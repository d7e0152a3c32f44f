//! JUnit: a document for CI systems, with a test suite for each row and a test case for each size.

use super::{Judged, Judgement, Report, Row};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// One document, at the end.
#[derive(Default)]
pub(crate) struct JUnit {
    suites: Vec<TestSuite>,
}

impl Report for JUnit {
    fn row(&mut self, row: &Row<'_>) -> String {
        let name = row.policy.full_name();
        let mut suite = TestSuite::new(format!("{name} ({})", row.engine));
        suite.set_time(row.elapsed());
        suite.add_test_cases(row.cases.iter().map(|judged| test_case(&name, judged)));
        self.suites.push(suite);
        String::new()
    }

    fn end(&mut self, elapsed: Duration) -> String {
        let mut report = quick_junit::Report::new("flockstep");
        report.set_time(elapsed);
        report.add_test_suites(self.suites.drain(..));
        report.to_string().expect("a document in memory")
    }
}

fn test_case(policy: &str, judged: &Judged<'_>) -> TestCase {
    let report = judged.report();
    let mut status = match judged.judgement() {
        Judgement::Expected => TestCaseStatus::success(),
        Judgement::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Error),
        Judgement::Unexpected => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    if let Some(complaint) = judged.complaint() {
        let kind = judged.failure().map_or(judged.exploration.verdict.word(), |failure| failure.violation.kind.word());
        status.set_type(kind).set_message(complaint.clone());
        status.set_description(report.clone().unwrap_or(complaint));
    }
    let mut case = TestCase::new(judged.size(), status);
    case.set_classname(policy).set_time(judged.exploration.elapsed);
    if let Some(report) = report.filter(|_| judged.judgement() == Judgement::Expected) {
        case.set_system_out(report);
    }
    case
}
