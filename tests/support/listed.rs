//! The table of a few recipients, as a file that lists them would give it.

use ringmx::smtp::policy::{ListBuilder, Listed, RecipientEntry};

/// Whom these entries list.
pub fn listed(entries: &[RecipientEntry], case_sensitive: bool) -> Listed {
    let mut builder = ListBuilder::new([7; 16], case_sensitive, entries.len());
    for entry in entries {
        builder.add(entry);
    }
    builder.finish().expect("no collision of a few addresses")
}
