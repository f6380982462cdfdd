//! What the cluster in memory promises, shown with requests and batches built by hand.

mod apis;
mod batches;
mod bytes;
mod campaign;
mod faults;
mod oracle;
mod peer;
mod reads;
mod replication;
mod sequences;
mod transcript;
