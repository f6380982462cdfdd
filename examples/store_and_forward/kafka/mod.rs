//! The upstream that is a real Kafka: what to connect with, and what arrived there.

mod broker;
mod login;
mod proof;
mod topic;

use forebay::{KafkaUpstream, Log, Offset, Sasl, Tls, UpstreamPartition};

use crate::args::{KafkaArgs, Mechanism};
use crate::say;
use broker::Result;
use proof::Proof;
use topic::Topic;

/// The upstream as the command line wants it.
fn upstream(args: &KafkaArgs) -> Result<KafkaUpstream> {
    let mut kafka = KafkaUpstream::new(&args.bootstrap, &args.topic)
        .partition(UpstreamPartition::Fixed(args.partition));
    if let Some(tls) = &args.tls {
        let mut with = Tls::new();
        if let Some(ca) = &tls.ca {
            with = with.authorities_file(ca);
        }
        if let Some((certificate, key)) = &tls.client {
            with = with.client_files(certificate, key);
        }
        kafka = kafka.tls(with);
    }
    if let Some(sasl) = args.sasl.clone() {
        let user = sasl.user.clone();
        kafka = kafka.sasl(match sasl.mechanism {
            Mechanism::Plain => Sasl::plain(user, sasl.secret()?),
            Mechanism::ScramSha256 => Sasl::scram_sha256(user, sasl.secret()?),
            Mechanism::ScramSha512 => Sasl::scram_sha512(user, sasl.secret()?),
            Mechanism::OauthBearer => {
                Sasl::oauth_bearer(move || sasl.secret().map_err(forebay::Error::upstream))
            }
        });
    }
    if args.create_topic {
        let partitions = args.partition.saturating_add(1);
        // However old the records are by then, they stay long enough to be counted.
        kafka = kafka.create_topic(partitions, -1, [("retention.ms", "-1")]);
    }
    Ok(kafka)
}

/// Ships by `forward`, then reads the topic from where it stood before, and proves it.
pub(crate) fn run(
    args: &KafkaArgs,
    log: &Log,
    forward: impl FnOnce(&str, KafkaUpstream) -> Result<()>,
) -> Result<bool> {
    let name = consumer(args);
    let committed = committed(log, &name);
    let in_doubt = log.log_end_offset() - committed;
    let before = look(args);
    forward(&name, upstream(args)?)?;
    let mut topic = Topic::find(args)?.ok_or("the topic is gone")?;
    let (start, end) = (topic.start()?, topic.end()?);
    // What an earlier run sent, and was not answered, may stand below the end it had then.
    let from = before.map_or(start, |end| (end - in_doubt).max(start));
    let arrived = topic.records(from, end);
    let proof = Proof::check(arrived, from..end, log, committed, log.log_end_offset())?;
    say(&proof);
    Ok(proof.holds())
}

/// Only the proof: everything the topic has against everything the log has.
pub(crate) fn verify(args: &KafkaArgs, log: &Log) -> Result<bool> {
    let mut topic = Topic::find(args)?.ok_or_else(|| format!("no topic '{}'", args.topic))?;
    let (start, end) = (topic.start()?, topic.end()?);
    let first = log.log_start_offset();
    let committed = committed(log, &consumer(args));
    let proof = Proof::check(topic.records(start, end), start..end, log, first, committed)?;
    say(&proof);
    Ok(proof.holds())
}

/// The name under which the log keeps how far it was shipped there.
fn consumer(args: &KafkaArgs) -> String {
    format!("{}-{}", args.topic, args.partition)
}

fn committed(log: &Log, name: &str) -> Offset {
    let known = log.consumers();
    let found = known.iter().find(|consumer| consumer.name == name);
    found.map_or(log.log_start_offset(), |consumer| consumer.committed)
}

/// Where the topic ends before anything is shipped. That it cannot be asked stops nothing: what is
/// to be stored is stored, and shipped when it can be.
fn look(args: &KafkaArgs) -> Option<i64> {
    let end = Topic::find(args).and_then(|topic| match topic {
        Some(mut topic) => topic.end().map(Some),
        None => Ok(None),
    });
    match &end {
        Ok(Some(end)) => say(format_args!("kafka: '{}' ends at offset {end}", args.topic)),
        Ok(None) => say(format_args!("kafka: there is no topic '{}' yet", args.topic)),
        Err(error) => say(format_args!("kafka: the topic cannot be looked at yet: {error}")),
    }
    end.ok().map(|end| end.unwrap_or(0))
}
