//! The long documents, versioned and tested with the crate.
