//! The uplink to Apache Kafka, against a strict cluster in memory.
//!
//! `fake` is that cluster, written from the protocol and from what real brokers were seen to do,
//! without a look at the client; `fake_tests` show that it refuses, remembers and fails as they do.
//!
//! The fault matrix, row by row, and the test that fails if the row breaks. Where no other program
//! is named it is in this one; `campaign` ships to real brokers.
//!
//! | row | fault | test |
//! |---|---|---|
//! | R1 | request dropped before the append | `ships::faults_...`, "dropped before" |
//! | R2 | appended, answer lost | `ships::faults_...`, "answer lost"; `campaign` |
//! | R3 | answer doubled, or late | `ships::faults_...`, "answered twice", "answered late" |
//! | R4 | answers out of order | `ships::faults_...`, "answers overtaken" |
//! | R5 | one batch of several refused for a time | `ships::faults_...`, codes 6, 7, 19 |
//! | R6 | leader moved, old metadata | `ships::faults_...`, "leader moved"; `campaign` |
//! | R7 | broker killed before replication | `ships::faults_...`, "leader moved"; `campaign` |
//! | R8 | broker lost what it acknowledged | `times::what_brokers_lost_...`, two |
//! | R9 | NOT_ENOUGH_REPLICAS, REQUEST_TIMED_OUT | `ships::faults_...`, codes 7, 19, 20 |
//! | R10 | throttled | `times::a_broker_that_asks_to_wait_...` |
//! | R11 | too large | `lasts::a_record_that_is_too_large_...` |
//! | R12 | CORRUPT_MESSAGE | `ships::faults_...`, code 2 |
//! | R13 | topic deleted, made anew | `lasts::another_topic_of_the_name_...` |
//! | R14 | more partitions | `lasts::another_topic_of_the_name_...` |
//! | R15 | login or rights refused | `lasts::a_wrong_password_...` |
//! | R16 | TLS refused, stalled, renewed | `tls` |
//! | R17 | names lead nowhere, a server is gone | `rows::names_that_lead_nowhere_...` |
//! | R18 | link gone for 1 s, 10 min, 3 days | `times::a_link_that_is_gone_for_days_...` |
//! | R19 | slow, long and lossy links | `slow`, two |
//! | R20 | killed between answer and commit | `ships::kills_and_power_cuts_...`; `campaign` |
//! | R21 | power cut, commit older than the log | `power`, at every call to the disk |
//! | R22 | the log lost its end | `lasts::a_log_that_lost_its_end_...` |
//! | R23 | all copies of what was committed damaged | `lost`, two |
//! | R24 | disk full, link down | `rows::a_full_disk_...`, `rows::a_full_log_...` |
//! | R25 | retention passed the committed offset | `gaps`; `lasts::a_gap_is_counted_...` |
//! | R26 | clock jumps in the backoff | `times::a_wall_clock_that_jumps_...` |
//! | R27 | two that ship as one | `lasts::a_copied_disk_...` |
//! | R28 | damaged batch, not shipped yet | `rows::a_damaged_batch_...` |
//! | R29 | garbage for answers | `rows::every_answer_...`, `rows::many_spoilt_answers_...` |
//! | R30 | brokers offer less than before | `rows::brokers_that_offer_less_...` |
//! | R31 | stopped with batches on their way | `times::a_device_that_is_stopped_...` |
//! | R32 | stored, not replicated, and the producer forgotten | `unseen` |
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod bad;
mod compacted;
mod copies;
mod fake;
mod fake_tests;
mod gaps;
mod lasts;
mod logins;
mod lost;
mod pipe;
mod power;
mod rows;
mod several;
mod ships;
mod slow;
mod storm;
mod times;
mod tls;
mod told;
mod unseen;
mod world;
