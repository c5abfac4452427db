//! What a look at another program found before a server listens.

/// See the module.
#[derive(Debug, Default)]
pub struct FirstFound {
    /// What the operator should know.
    pub notes: Vec<String>,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}
