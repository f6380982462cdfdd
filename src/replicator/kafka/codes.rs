//! A broker's error codes: what they mean for the link, and what to do.
//!
//! Floor 6. Numbers and names: Kafka's protocol guide.

use crate::{Error, ErrorKind};

/// What a broker's answer means for the batch it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is stored on all replicas that have to have it.
    Stored,
    /// It was stored before; where is not said.
    StoredBefore,
    /// It does not follow what the broker has: that has to be asked.
    OutOfSequence,
    /// The broker does not know the producer id any more, or knows a higher epoch.
    UnknownProducer,
    /// It is too large for the topic.
    TooLarge,
    /// Something in it is not to the broker's liking.
    Refused,
    /// Its checksum was wrong when it arrived.
    Corrupt,
    /// The broker does not say why it failed.
    Unexplained,
    /// Its records' times lie too far ahead: it is taken later.
    TooEarly,
    /// Nothing is wrong with it: it is sent again.
    Retry,
    /// Nothing of this log is taken until somebody corrects something.
    Rejected,
}

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
/// Nobody may read the topic's producers, or the broker does not offer it.
pub(super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
pub(super) const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(super) const OFFSET_OUT_OF_RANGE: i16 = 1;
pub(super) const TOPIC_ALREADY_EXISTS: i16 = 36;
pub(super) const OFFSET_NOT_AVAILABLE: i16 = 78;

pub(super) fn verdict(code: i16) -> Verdict {
    match code {
        0 => Verdict::Stored,
        46 => Verdict::StoredBefore,
        OUT_OF_ORDER_SEQUENCE_NUMBER => Verdict::OutOfSequence,
        47 | 59 | 90 => Verdict::UnknownProducer,
        10 | 18 => Verdict::TooLarge,
        87 => Verdict::Refused,
        2 => Verdict::Corrupt,
        -1 => Verdict::Unexplained,
        32 => Verdict::TooEarly,
        _ if needs_a_person(code) => Verdict::Rejected,
        _ => Verdict::Retry,
    }
}

/// Whether the error stays until somebody changes something.
fn needs_a_person(code: i16) -> bool {
    matches!(
        code,
        17 | 29 | 30 | 31 | 33 | 34 | 35 | 40 | 41 | 42 | 43 | 44 | 53 | 54 | 55 | 58 | 65 | 76
    )
}

/// Whether it says that the partition is led by another one, or nobody yet.
pub(super) fn is_of_leader(code: i16) -> bool {
    matches!(code, 3 | 5 | 6 | 9 | 56 | 74 | 75 | OFFSET_NOT_AVAILABLE)
}

/// An error for this code. `what` says what failed, and at which broker.
#[cold]
pub(super) fn error(code: i16, what: impl std::fmt::Display) -> Error {
    let held = verdict(code) == Verdict::TooEarly;
    let kind = match needs_a_person(code) || held {
        true => ErrorKind::UpstreamRejected,
        false => ErrorKind::Upstream,
    };
    let (name, remedy) = describe(code);
    Error::new(kind, format!("{what}: {name} ({code}): {remedy}"))
}

/// The code's name, and what to do about it.
fn describe(code: i16) -> (&'static str, &'static str) {
    match code {
        -1 => ("UNKNOWN_SERVER_ERROR", "see the broker's log"),
        1 => ("OFFSET_OUT_OF_RANGE", "the topic was cut short"),
        2 => ("CORRUPT_MESSAGE", "the batch was damaged on its way"),
        3 => ("UNKNOWN_TOPIC_OR_PARTITION", "create the topic, or give it partitions enough"),
        5 => ("LEADER_NOT_AVAILABLE", "the partition has no leader now"),
        6 => ("NOT_LEADER_OR_FOLLOWER", "the partition's leader has moved"),
        7 => ("REQUEST_TIMED_OUT", "the replicas are behind"),
        8 => ("BROKER_NOT_AVAILABLE", "the broker is starting or stopping"),
        9 => ("REPLICA_NOT_AVAILABLE", "the replica is starting"),
        10 => ("MESSAGE_TOO_LARGE", "raise the topic's max.message.bytes"),
        13 => ("NETWORK_EXCEPTION", "the brokers cannot reach each other"),
        14 => ("COORDINATOR_LOAD_IN_PROGRESS", "the broker is starting"),
        15 => ("COORDINATOR_NOT_AVAILABLE", "the cluster is starting"),
        17 => ("INVALID_TOPIC_EXCEPTION", "the topic's name is not allowed: use another"),
        18 => ("RECORD_LIST_TOO_LARGE", "raise the topic's segment.bytes"),
        19 => ("NOT_ENOUGH_REPLICAS", "fewer replicas are in sync than min.insync.replicas"),
        20 => ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", "replicas fell behind min.insync.replicas"),
        29 => ("TOPIC_AUTHORIZATION_FAILED", "grant the user WRITE and READ on the topic"),
        31 => ("CLUSTER_AUTHORIZATION_FAILED", "grant the user IDEMPOTENT_WRITE on the cluster"),
        32 => (
            "INVALID_TIMESTAMP",
            "set this device's clock, or raise the topic's message.timestamp.after.max.ms; \
             the records are held until then",
        ),
        33 => ("UNSUPPORTED_SASL_MECHANISM", "use a mechanism that the broker enables"),
        34 => ("ILLEGAL_SASL_STATE", "use a listener of the broker with SASL"),
        35 => ("UNSUPPORTED_VERSION", "use Kafka 2.8 or later"),
        36 => ("TOPIC_ALREADY_EXISTS", "somebody else has just made it"),
        37 => ("INVALID_PARTITIONS", "ask for one partition or more"),
        38 => ("INVALID_REPLICATION_FACTOR", "ask for no more replicas than there are brokers"),
        40 => ("INVALID_CONFIG", "correct the topic's settings"),
        41 => ("NOT_CONTROLLER", "the controller has moved"),
        42 => ("INVALID_REQUEST", "report it: the broker does not understand this client"),
        43 => ("UNSUPPORTED_FOR_MESSAGE_FORMAT", "raise the topic's message format to 2"),
        44 => ("POLICY_VIOLATION", "ask for a topic that the cluster's policy allows"),
        45 => ("OUT_OF_ORDER_SEQUENCE_NUMBER", "the broker is asked what it has"),
        46 => ("DUPLICATE_SEQUENCE_NUMBER", "it is stored already"),
        47 => ("INVALID_PRODUCER_EPOCH", "somebody else ships under this identity"),
        53 => ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "grant the user the right"),
        56 => ("KAFKA_STORAGE_ERROR", "the broker's disk fails"),
        58 => ("SASL_AUTHENTICATION_FAILED", "correct user and password, or the token"),
        59 => ("UNKNOWN_PRODUCER_ID", "the broker has forgotten this producer"),
        72 => ("LISTENER_NOT_FOUND", "the leader has no listener of this name"),
        74 => ("FENCED_LEADER_EPOCH", "the partition's leader has moved"),
        75 => ("UNKNOWN_LEADER_EPOCH", "the partition's leader has moved"),
        76 => ("UNSUPPORTED_COMPRESSION_TYPE", "use a newer broker, or another codec"),
        78 => ("OFFSET_NOT_AVAILABLE", "the partition's leader was elected only now"),
        87 => ("INVALID_RECORD", "the broker does not take a record: see its log"),
        89 => ("THROTTLING_QUOTA_EXCEEDED", "the user's quota is used up"),
        90 => ("PRODUCER_FENCED", "somebody else ships under this identity"),
        100 => ("UNKNOWN_TOPIC_ID", "the topic was deleted, or made anew"),
        _ => ("an error code that is not known", "see the broker's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_code_and_remedy_and_says_who_has_to_act() {
        let error = error(29, "broker b:9092: topic 't'");
        assert_eq!(error.kind(), ErrorKind::UpstreamRejected);
        let text = error.to_string();
        assert!(text.contains("TOPIC_AUTHORIZATION_FAILED (29): grant"), "{text}");
        assert_eq!(super::error(6, "x").kind(), ErrorKind::Upstream);
        assert_eq!(super::error(32, "x").kind(), ErrorKind::UpstreamRejected);
        assert_eq!(super::error(9999, "x").kind(), ErrorKind::Upstream);
    }

    #[test]
    fn no_code_but_0_counts_as_stored() {
        let stored = |code| verdict(code) == Verdict::Stored;
        assert_eq!((i16::MIN..=i16::MAX).filter(|code| stored(*code)).collect::<Vec<_>>(), [0]);
    }
}
