//! The page of the log is what the table of events says.

use std::path::Path;

use ringmx::log::reference;

#[test]
fn docs_log_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/log.md");
    let current = reference::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &current).expect("docs/log.md written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == current,
        "docs/log.md is not what the table of events says; \
         make it again with: UPDATE_DOCS=1 cargo test -p ringmx --test tools docs"
    );
}
