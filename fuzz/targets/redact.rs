//! Free text: findings lie in it, in order, on characters, and what is found is not in what comes out of it.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use privacy::Redactor;

fuzz_target!(|text: &str| {
    static REDACTOR: OnceLock<Redactor> = OnceLock::new();
    let redactor = REDACTOR.get_or_init(Redactor::new);
    let findings = redactor.findings(text);
    let mut last = 0;
    for finding in &findings {
        assert!(last <= finding.range.start && finding.range.start < finding.range.end, "{findings:?}");
        assert!(text.is_char_boundary(finding.range.start) && text.is_char_boundary(finding.range.end), "{findings:?}");
        last = finding.range.end;
    }
    assert!(last <= text.len());
    let cleared = redactor.redact(text);
    let found = findings.iter().any(|finding| !finding.kept);
    assert_eq!(found, cleared != text, "{findings:?}");
    assert_eq!(redactor.finds_in(text), found, "{findings:?}");
});
