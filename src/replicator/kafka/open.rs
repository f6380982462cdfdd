//! Opens a link: finds the partition's leader, learns what it has, and decides where to go on.
//!
//! Floor 6. Whatever this process believes, the leader is asked; what it has says where to resume,
//! never what is safe: that takes an answer with acks=all, or our batch below the high watermark.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::oldest;
use super::calls::{Node, Topic};
use super::channel::Channel;
use super::identity::{Era, Finding, Identity, judge};
use super::link::{Link, With};
use super::preflight::{self, Forgetting, Times};
use super::{lost, tail};
use crate::{Delivery, Error, ErrorKind, Offset, Result, Resume, Timestamp};

/// How often the same sequence may be refused before the epoch is taken for spoilt.
const UNEXPLAINED_MAX: u32 = 3;
/// Kafka's kinds of what has settings.
const OF_TOPIC: i8 = 2;
const OF_BROKER: i8 = 4;

/// How long it waits before it looks again whether what was stored has become safe.
const CONFIRM_EVERY: Duration = Duration::from_millis(50);

/// What opening a link came to.
pub(super) struct Opened {
    pub(super) link: Link,
    pub(super) resume: Resume,
    /// The largest batch that the topic takes, where it tells.
    pub(super) batch_bytes_max: Option<usize>,
}

/// Opens a connection, and with TLS makes sure whose it is.
fn reach(host: &str, port: u16, with: &mut With<'_, '_>) -> Result<Channel> {
    let address = format!("{host}:{port}");
    let settings = with.settings;
    let timeout = with.memory.connections.of(settings.connect_timeout);
    with.memory.begun = with.network.now();
    let connection = with
        .network
        .connect(host, port, timeout)
        .map_err(|error| Error::upstream(format!("cannot reach broker {address}: {error}")));
    let connection = match (connection, &settings.tls) {
        (Ok(connection), Some(tls)) => {
            tls.secure(connection, host, &address, &*with.network, timeout)
        }
        (connection, _) => connection,
    };
    let connection = connection.inspect_err(|_| {
        with.memory.unreached |= with.network.now().saturating_sub(with.memory.begun) >= timeout;
    })?;
    let late = Arc::clone(&with.memory.late);
    Ok(Channel::new(connection, settings.tls.is_some(), address, &settings.client_id, late))
}

/// Learns what the broker offers, and tells it who this is.
fn greet(mut channel: Channel, with: &mut With<'_, '_>) -> Result<Node> {
    let timeout = with.memory.answers.of(with.settings.request_timeout);
    channel.negotiate(&*with.network, timeout)?;
    let mut node = Node { channel, timeout, login: None };
    if let Some(sasl) = &with.settings.sasl {
        node.log_in(sasl, &*with.network)?;
    }
    Ok(node)
}

/// Asks the bootstrap servers in turn, beginning with the one that is due, for the topic.
fn find(due: usize, with: &mut With<'_, '_>) -> Result<(Node, Topic)> {
    with.settings.check_compression()?;
    let servers = with.settings.servers()?;
    let mut last: Option<Error> = None;
    for at in 0..servers.len() {
        let Some((host, port)) = servers.get((due + at) % servers.len()) else { continue };
        let channel = match reach(host, *port, with) {
            Ok(channel) => channel,
            Err(error) => {
                // Another broker may have a better certificate. What a person can put right says
                // more than that another one is away.
                if last.is_none() || error.kind() != ErrorKind::Upstream {
                    last = Some(error);
                }
                continue;
            }
        };
        match greet(channel, with).and_then(|node| ask(node, with)) {
            Ok(found) => return Ok(found),
            // What one broker refuses the others do too.
            Err(error) if error.kind() != ErrorKind::Upstream => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::upstream("no bootstrap server could be asked")))
}

fn ask(mut node: Node, with: &mut With<'_, '_>) -> Result<(Node, Topic)> {
    let name = &with.settings.topic;
    let found = node.topic(name, &*with.network)?;
    match (found, &with.settings.create) {
        (Some(topic), _) => Ok((node, topic)),
        (None, Some(new)) => {
            node.create(name, new, &*with.network)?;
            match node.topic(name, &*with.network)? {
                Some(topic) => Ok((node, topic)),
                None => Err(Error::upstream(node.channel.at("the topic is being made"))),
            }
        }
        (None, None) => {
            let text = node.channel.at(format!(
                "there is no topic '{name}': create it, or use KafkaUpstream::create_topic \
                 (C: create.topic.partitions)"
            ));
            Err(Error::new(ErrorKind::UpstreamRejected, text))
        }
    }
}

/// Opens the link, and finds out where shipping resumes.
pub(super) fn open(due: usize, with: &mut With<'_, '_>) -> Result<Opened> {
    let (node, topic) = find(due, with)?;
    let kept = Identity::decode(with.source.kept());
    let partition = choose(&topic, kept.as_ref(), with)?;
    let Some(leader) = topic.leaders.get(&partition).cloned() else {
        let text = format!("partition {partition} of the topic '{}' has no leader", topic.name);
        return Err(Error::upstream(node.channel.at(text)));
    };
    let mut node = match node.channel.address == format!("{}:{}", leader.host, leader.port) {
        true => node,
        false => greet(reach(&leader.host, leader.port, with)?, with)?,
    };
    let batch_bytes_max = preflight(&mut node, leader.node, with)?;
    let identity = match kept.filter(|_| !with.memory.renew) {
        Some(kept) if kept.is_of(&topic.cluster, topic.id, partition) => kept,
        Some(kept) => {
            check_new_topic(&kept, &topic, partition, with)?;
            fresh(&mut node, &topic, partition, start(with), with)?
        }
        None if with.source.is_progress_lost() => {
            let from = lost::find(&mut node, &topic, partition, with)?;
            let from = from.map_or(start(with), |from| from.max(start(with)));
            // With the new id, or a restart in between would begin below it.
            with.source.acknowledged(from);
            fresh(&mut node, &topic, partition, from, with)?
        }
        None => {
            if with.source.committed() > Offset::ZERO && !with.memory.renew {
                // Somebody shipped before, and who that was upstream is lost.
                with.count_in_doubt();
            }
            fresh(&mut node, &topic, partition, start(with), with)?
        }
    };
    with.memory.renew = false;
    let mut link = Link::new(node, topic, partition, identity);
    link.heard = with.network.now();
    let hardware = with.source.hardware().unwrap_or(0);
    let resume = match tail::copied(&mut link, hardware, with)? {
        Some(resume) => resume,
        None => resume(&mut link, with)?,
    };
    (link.next, link.acknowledged) = (resume.from, resume.acknowledged);
    let mut resume = make_sure(&mut link, resume, with)?;
    if link.identity.is_copied(hardware) {
        if link.blind {
            with.count_in_doubt();
        }
        // Under the old id the other device may go on.
        resume = begin_anew(&mut link, resume.from, with)?;
    } else if hardware != 0 {
        link.identity.hardware = hardware;
    }
    (link.next, link.acknowledged) = (resume.from, resume.acknowledged);
    link.pass_deleted(with)?;
    with.memory.sent = Some(with.memory.sent.map_or(resume.from, |sent| sent.max(resume.from)));
    Ok(Opened { link, resume, batch_bytes_max })
}

/// The partition that is shipped to.
fn choose(topic: &Topic, kept: Option<&Identity>, with: &With<'_, '_>) -> Result<i32> {
    let partition = with.settings.partition.of(with.source.log_id(), topic.partitions);
    let count = topic.partitions;
    if usize::try_from(partition).is_ok_and(|partition| partition < count) {
        if let Some(kept) = kept
            && kept.is_of(&topic.cluster, topic.id, kept.partition)
            && kept.partition != partition
        {
            let text = format!(
                "the topic '{}' has {count} partitions now: this log would go on in partition \
                 {partition} instead of {}. Name it by UpstreamPartition::Fixed (C: partition)",
                topic.name, kept.partition
            );
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        return Ok(partition);
    }
    let text = format!("the topic '{}' has {count} partitions, and none {partition}", topic.name);
    Err(Error::new(ErrorKind::UpstreamRejected, text))
}

/// Another topic of the name, or another cluster: nothing is shipped there unless that was asked.
fn check_new_topic(
    kept: &Identity,
    topic: &Topic,
    partition: i32,
    with: &With<'_, '_>,
) -> Result<()> {
    if with.settings.follow_new_topic {
        return Ok(());
    }
    let what = match kept.cluster == topic.cluster {
        true => format!("the topic '{}' was deleted and made anew", topic.name),
        false => format!(
            "the cluster is '{}', and not '{}' that was shipped to before",
            topic.cluster, kept.cluster
        ),
    };
    let text = format!(
        "{what}: partition {partition} would begin at offset {}; allow it by \
         KafkaUpstream::follow_new_topic (C: follow.new.topic)",
        with.source.committed()
    );
    Err(Error::new(ErrorKind::Conflict, text))
}

/// The first offset that is not accounted for.
pub(super) fn start(with: &With<'_, '_>) -> Offset {
    with.source.committed().max(with.source.log_start())
}

/// A producer id that nobody has, kept before its first use; `anchor` is its sequence 0.
fn fresh(
    node: &mut Node,
    topic: &Topic,
    partition: i32,
    anchor: Offset,
    with: &mut With<'_, '_>,
) -> Result<Identity> {
    let (producer, epoch) = node.new_producer(&*with.network)?;
    let upstream = node.end_offset(&topic.name, partition, false, &*with.network).unwrap_or(0);
    let mut identity = Identity {
        cluster: topic.cluster.clone(),
        topic: topic.id,
        partition,
        producer,
        era: Era { epoch, anchor },
        before: None,
        marked: false,
        upstream,
        hardware: with.source.hardware().unwrap_or(0),
    };
    let (committed, log_start) = (with.source.committed(), with.source.log_start());
    if anchor == log_start && committed < log_start {
        // What was to come first is gone: as behind every gap, an epoch begins.
        with.memory.count_gap((log_start - committed).unsigned_abs());
        let marked = with.marks_gaps();
        let anchor = Offset::new(anchor.get() - i64::from(marked));
        identity.begin_epoch(committed, anchor, marked);
    }
    with.source.keep(&identity.encode())?;
    Ok(identity)
}

/// Reads the topic's settings, and refuses what would lose records.
fn preflight(node: &mut Node, leader: i32, with: &mut With<'_, '_>) -> Result<Option<usize>> {
    let network = &*with.network;
    let topic = match node.settings(OF_TOPIC, &with.settings.topic, network) {
        Ok(topic) => topic,
        Err(error) if error.kind() == ErrorKind::UpstreamRejected => {
            let warning =
                format!("the topic's settings cannot be checked: {}", error.what_failed());
            with.memory.status.warnings = vec![warning];
            with.memory.forgetting = Forgetting::default();
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let broker = match node.settings(OF_BROKER, &leader.to_string(), network) {
        Ok(broker) => broker,
        // It takes another right, which few have.
        Err(error) if error.kind() == ErrorKind::UpstreamRejected => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    let oldest = oldest(with.source.log(), start(with)).map(Timestamp::millis);
    let times = Times { now: network.wall_millis(), oldest };
    with.memory.forgetting = Forgetting::of(&topic, &broker);
    let found = preflight::judge(&topic, &broker, times);
    with.memory.status.warnings = found.warnings;
    match found.refusal {
        Some(refusal) if with.settings.accept_expiring => {
            with.memory.status.warnings.push(refusal);
        }
        Some(refusal) => {
            let text = format!(
                "{}; or accept the loss by KafkaUpstream::accept_expiring (C: accept.expiring)",
                node.channel.at(refusal)
            );
            return Err(Error::new(ErrorKind::UpstreamRejected, text));
        }
        None => {}
    }
    Ok(found.batch_bytes_max)
}

/// Where shipping goes on, by what the leader has.
fn resume(link: &mut Link, with: &mut With<'_, '_>) -> Result<Resume> {
    let committed = with.source.committed();
    let producer = link.identity.producer;
    let known = link.node.known(&link.topic.name, link.partition, producer, &*with.network);
    let known = match known {
        Ok(known) => known,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            // One batch at a time, as it is stored: the broker knows the last one again.
            link.blind = true;
            with.memory.status.delivery = Delivery::AtLeastOnce;
            let warning = format!("{}: grant READ on the topic", error.what_failed());
            with.memory.status.warnings.push(warning);
            return Ok(Resume::at(link.identity.unacknowledged(committed)));
        }
        Err(error) => return Err(error),
    };
    with.memory.status.delivery = Delivery::ExactlyOnce;
    link.known = known.is_some();
    match judge(&link.identity, known, committed) {
        Finding::Has(next) if next > with.source.durable() => tail::beyond(link, next, with),
        Finding::Has(next) if with.memory.sent.is_some_and(|sent| next > sent) => {
            // More than this process has ever sent.
            tail::shared(link, with)
        }
        Finding::Has(next) => has(link, next, with),
        Finding::Forgotten => tail::search(link, with),
        Finding::Stranger => tail::shared(link, with),
    }
}

/// The leader lacks everything from `next` on, by its producer state.
fn has(link: &mut Link, next: Offset, with: &mut With<'_, '_>) -> Result<Resume> {
    let committed = with.source.committed();
    let stuck = with
        .memory
        .unexplained
        .filter(|(at, times)| *times >= UNEXPLAINED_MAX && *at == link.identity.skip(next));
    if stuck.is_some() {
        // It says that it has all before, and refuses what follows: a new epoch has no past.
        with.memory.unexplained = None;
        let anchor = link.identity.skip(next);
        let marked = link.identity.marked && anchor == link.identity.era.anchor;
        link.begin_epoch(next, anchor, marked, with)?;
    }
    let from = link.identity.skip(next);
    Ok(match next.cmp(&committed) {
        // It has lost what it had acknowledged, and stores behind what is left.
        Ordering::Less => {
            let (name, partition) = (&link.topic.name, link.partition);
            let end = link.node.end_offset(name, partition, false, &*with.network)?;
            link.identity.upstream = link.identity.upstream.min(end);
            with.source.note(&link.identity.encode());
            Resume::at(from)
        }
        Ordering::Equal => Resume::at(from),
        Ordering::Greater => Resume::unsure(from, committed),
    })
}

/// What the leader has may still be lost with it: then a leader without a state of the id would
/// take any sequence, and the records before it would be missing. So nothing new is sent before
/// all of it is seen below the high watermark.
fn make_sure(link: &mut Link, resume: Resume, with: &mut With<'_, '_>) -> Result<Resume> {
    if link.blind {
        return Ok(resume);
    }
    let deadline = with.network.now().saturating_add(with.settings.request_timeout);
    while link.acknowledged < resume.from {
        if let Some(differs) = tail::confirm(link, with)? {
            return tail::apart(link, differs, with);
        }
        if link.acknowledged < resume.from {
            if with.network.now() >= deadline {
                let text = "the replicas have not taken what was stored: see min.insync.replicas";
                return Err(Error::upstream(link.node.channel.at(text)));
            }
            with.network.sleep(CONFIRM_EVERY);
        }
    }
    Ok(Resume::at(resume.from.max(link.acknowledged)))
}

/// A new producer id, under which shipping goes on at `from`.
pub(super) fn begin_anew(link: &mut Link, from: Offset, with: &mut With<'_, '_>) -> Result<Resume> {
    link.identity = fresh(&mut link.node, &link.topic, link.partition, from, with)?;
    link.known = false;
    Ok(Resume::at(from))
}
