//! loadgen is the judge of the receiver.

use std::fs;
use std::path::Path;

/// What loadgen uses of the receiver: the ring and its surroundings, never the protocol, a sink or the configuration. A mistake of the
/// receiver must not hide in its judge.
const OF_RINGMX: &[&str] =
    &["buffer", "cli::commit", "ring", "shard::affinity", "timestamp", "tls::context", "tls::self_signed"];

#[test]
fn loadgen_shares_no_code_that_it_judges() {
    let mut wrong = Vec::new();
    let files = super::sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("loadgen/src"));
    assert!(files.len() > 20, "the sources were found");
    for file in files {
        let text = fs::read_to_string(&file).expect("readable source");
        for target in super::targets(&text, "ringmx::") {
            let fits = |prefix: &&str| target == **prefix || target.starts_with(&format!("{prefix}::"));
            if !OF_RINGMX.iter().any(fits) {
                wrong.push(format!("{} must not use ringmx::{target}", super::below_root(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
