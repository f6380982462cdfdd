//! The cluster: nodes, topics, connections, and one agenda of what happens when.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::actions::Action;
use super::answers::{Ask, Pending};
use super::batch::Refusal;
use super::connection::{Connection, ConnectionId, Delivery, Slot, State};
use super::faults::{Fault, Faults, Schedule, When};
use super::metadata::uuid;
use super::partition::Partition;
use super::settings::Settings;
use super::wire::{self, Head, Request};

/// More of a producer's batches than this are not known again: none has more on the way.
const IN_FLIGHT_MAX: usize = 5;

#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: u128,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) configs: BTreeMap<String, String>,
}

/// What happens later.
#[derive(Debug)]
pub(crate) enum Work {
    Replicate {
        topic: u128,
        partition: i32,
        leader_epoch: i32,
        end: i64,
    },
    /// Followers hear how far replication is.
    Tell {
        topic: u128,
        partition: i32,
        leader_epoch: i32,
        end: i64,
    },
    /// Metadata catches up.
    Advertise,
    Elect {
        topic: u128,
        partition: i32,
    },
    Land(Box<(Ask, Request)>),
    Act(Action),
    /// The time of a request that waits is over.
    Deadline,
}

pub(crate) struct Cluster {
    pub(crate) settings: Settings,
    /// What no client may ever do.
    pub(crate) violations: Vec<String>,
    /// What was answered with an error for what the request said: the code, and why.
    pub(crate) refusals: Vec<(i16, String)>,
    /// Which faults were met, by API and the count of its requests.
    pub(crate) fired: Vec<(i16, u64, Fault)>,
    /// Requests that came while the client was asked to wait.
    pub(crate) impatient: u64,
    /// Requests seen, by API.
    pub(crate) requests: BTreeMap<i16, u64>,
    pub(super) now: Duration,
    pub(super) nodes: BTreeMap<i32, bool>,
    pub(super) advertised_nodes: Vec<i32>,
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) pending: Vec<Pending>,
    pub(super) schedule: Schedule,
    pub(super) producer_ids: BTreeMap<i32, i64>,
    agenda: BTreeMap<(Duration, u64), Work>,
    made: u64,
}

impl Cluster {
    /// Nodes are numbered from one.
    pub(crate) fn new(nodes: usize, seed: u64) -> Cluster {
        let nodes: BTreeMap<_, _> = (1..=nodes as i32).map(|node| (node, true)).collect();
        Cluster {
            settings: Settings::default(),
            violations: Vec::new(),
            refusals: Vec::new(),
            fired: Vec::new(),
            impatient: 0,
            requests: BTreeMap::new(),
            now: Duration::ZERO,
            advertised_nodes: nodes.keys().copied().collect(),
            nodes,
            topics: BTreeMap::new(),
            connections: BTreeMap::new(),
            pending: Vec::new(),
            schedule: Schedule::new(seed),
            producer_ids: BTreeMap::new(),
            agenda: BTreeMap::new(),
            made: 0,
        }
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: usize, configs: &[(&str, &str)]) {
        let nodes = self.living();
        let leaders = (0..partitions).map(|n| Partition::new(nodes[n % nodes.len()])).collect();
        let configs = configs.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let random = &mut self.schedule.random;
        let id = u128::from(random.next()) << 64 | u128::from(random.next()) | 1;
        let topic = Topic { id, partitions: leaders, configs: configs.collect() };
        assert!(self.topics.insert(name.into(), topic).is_none(), "{name} is there");
    }

    pub(crate) fn topic_config(&mut self, topic: &str, name: &str, value: &str) {
        self.topic_mut(topic).configs.insert(name.into(), value.into());
    }

    /// As the codec has it.
    pub(crate) fn topic_id<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, topic: &str) -> T {
        uuid(self.topics[topic].id)
    }

    pub(crate) fn fault(&mut self, api: ApiKey, when: When, fault: Fault) {
        self.schedule.plan(api, when, fault);
    }

    /// Whatever is asked.
    pub(crate) fn fault_any(&mut self, when: When, fault: Fault) {
        self.schedule.plan_any(when, fault);
    }

    /// No fault is met any more.
    pub(crate) fn clear_faults(&mut self) {
        self.schedule.clear();
    }

    /// None if the node refuses.
    pub(crate) fn connect(&mut self, node: i32, now: Duration) -> Option<ConnectionId> {
        self.advance(now);
        if self.nodes.get(&node) != Some(&true) {
            return None;
        }
        let id = ConnectionId(self.number());
        self.connections.insert(id, Connection::new(node));
        Some(id)
    }

    /// By the address that Metadata gives.
    pub(crate) fn node_at(&self, host: &str, port: i32) -> Option<i32> {
        let node = host.strip_prefix("node-")?.parse().ok()?;
        (port == 9092 && self.nodes.contains_key(&node)).then_some(node)
    }

    /// The client closes. What the node has read of it, it carries out.
    pub(crate) fn disconnect(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// A whole frame, without its length.
    pub(crate) fn request(&mut self, id: ConnectionId, frame: &[u8], now: Duration) {
        self.advance(now);
        let Some(connection) = self.connections.get(&id) else {
            return self.violate(id, "a request on a connection that is none".into());
        };
        if connection.closed {
            return self.violate(id, "a request on a connection that was closed".into());
        }
        // Its bytes cross the end of the connection, and nobody reads them.
        if connection.closing {
            return;
        }
        match wire::read(frame, &self.settings.versions) {
            Ok((head, request)) => self.accept(id, head, request),
            Err(what) => self.break_off(id, what),
        }
        self.complete();
    }

    /// All that is due by now, in order.
    pub(crate) fn deliver(&mut self, id: ConnectionId, now: Duration) -> Vec<Delivery> {
        self.advance(now);
        self.connections.get_mut(&id).map_or_else(Vec::new, |connection| connection.deliver(now))
    }

    /// When there may be something to deliver.
    pub(crate) fn next_due(&self, id: ConnectionId) -> Option<Duration> {
        let connection = self.connections.get(&id)?;
        let waiting = connection.slots.iter().any(|slot| matches!(slot.state, State::Waiting));
        let work = self.next_work().filter(|_| waiting);
        [connection.next_due(), work].into_iter().flatten().min()
    }

    /// When something happens in the cluster next, whoever is connected.
    pub(crate) fn next_work(&self) -> Option<Duration> {
        self.agenda.keys().next().map(|(time, _)| *time)
    }

    /// Does all that is planned up to now.
    pub(crate) fn advance(&mut self, now: Duration) {
        while let Some(first) = self.agenda.first_entry() {
            let time = first.key().0;
            if time > now {
                break;
            }
            let work = first.remove();
            self.now = self.now.max(time);
            self.do_work(work);
            self.complete();
        }
        self.now = self.now.max(now);
    }

    fn do_work(&mut self, work: Work) {
        match work {
            Work::Replicate { topic, partition, leader_epoch, end } => {
                let found = self.partition_by_id(topic, partition);
                // What an old leader had sent no longer counts.
                if let Some(found) = found.filter(|found| found.leader_epoch == leader_epoch) {
                    found.replicated(end);
                    let later = self.now + self.settings.replication.unwrap_or_default();
                    self.plan(later, Work::Tell { topic, partition, leader_epoch, end });
                }
            }
            Work::Tell { topic, partition, leader_epoch, end } => {
                let found = self.partition_by_id(topic, partition);
                if let Some(found) = found.filter(|found| found.leader_epoch == leader_epoch) {
                    found.told = found.told.max(end);
                }
            }
            Work::Advertise => self.advertise_now(),
            Work::Elect { topic, partition } => self.elect(topic, partition),
            Work::Land(landing) => {
                let (ask, request) = *landing;
                if self.nodes.get(&ask.node) == Some(&true) {
                    self.carry_out(ask, request);
                }
            }
            Work::Act(action) => self.do_action(action),
            Work::Deadline => {}
        }
    }

    /// A request that was read whole.
    fn accept(&mut self, id: ConnectionId, head: Head, request: Request) {
        let faults = self.meet(head.api);
        for action in faults.before() {
            self.do_action(action);
        }
        let slot = self.number();
        let partitions = self.partitions_of(id, &request);
        let Some(connection) = self.connections.get_mut(&id).filter(|found| !found.closing) else {
            return;
        };
        let in_order = !faults.list.iter().any(|fault| matches!(fault, Fault::Overtaken(_)));
        let (throttle, state) = (faults.throttle(), State::Waiting);
        connection.slots.push_back(Slot { id: slot, partitions, in_order, throttle, state });
        let (node, muted) = (connection.node, connection.muted_until);
        if let Some(close) = faults.dropped_before() {
            connection.slots.back_mut().expect("just pushed").state = State::Lost;
            if close {
                let at = self.now + self.settings.latency;
                self.close(id, at);
            }
            return;
        }
        if muted > self.now {
            self.impatient += 1;
        }
        let landing = (self.now + faults.landing().unwrap_or_default()).max(muted);
        let ask = Ask { connection: id, slot, node, head, faults };
        if landing > self.now {
            self.plan(landing, Work::Land(Box::new((ask, request))));
        } else {
            self.carry_out(ask, request);
        }
    }

    fn meet(&mut self, api: i16) -> Faults {
        let count = self.requests.entry(api).or_default();
        *count += 1;
        let count = *count;
        let faults = self.schedule.meet(api);
        self.fired.extend(faults.list.iter().map(|fault| (api, count, fault.clone())));
        faults
    }

    /// What a Produce request has in it, and whether that may be on its way.
    fn partitions_of(&mut self, id: ConnectionId, request: &Request) -> Vec<(String, i32)> {
        let Request::Produce(request) = request else { return Vec::new() };
        let mut partitions = Vec::new();
        for topic in &request.topic_data {
            // Versions have one or the other.
            let name = if topic.topic_id.is_nil() {
                topic.name.to_string()
            } else {
                topic.topic_id.to_string()
            };
            partitions.extend(topic.partition_data.iter().map(|data| (name.clone(), data.index)));
        }
        if partitions.is_empty() {
            self.violate(id, "Produce of nothing".into());
        }
        for n in 0..partitions.len() {
            let (name, index) = &partitions[n];
            if partitions[..n].contains(&partitions[n]) {
                self.violate(id, format!("Produce names {name}-{index} twice"));
            }
            let found = self.connections.get(&id);
            let before = found.map_or(0, |connection| connection.unanswered(&partitions[n]));
            if before >= IN_FLIGHT_MAX {
                self.violate(id, format!("{} Produce on the way to {name}-{index}", before + 1));
            }
        }
        partitions
    }

    fn carry_out(&mut self, ask: Ask, request: Request) {
        let after = ask.faults.after();
        if self.may(&ask, &request) {
            self.dispatch(ask, request);
        }
        for action in after {
            self.do_action(action);
        }
    }

    fn dispatch(&mut self, ask: Ask, request: Request) {
        match request {
            Request::ApiVersions(request) => self.api_versions(ask, Some(&request)),
            Request::ApiVersionsUnknown => self.api_versions(ask, None),
            Request::Metadata(request) => self.metadata(ask, &request),
            Request::InitProducerId(request) => self.init_producer_id(ask, &request),
            Request::Produce(request) => self.produce(ask, request),
            Request::DescribeProducers(request) => self.describe_producers(ask, request),
            Request::DescribeConfigs(request) => self.describe_configs(ask, &request),
            Request::CreateTopics(request) => self.create_topics(ask, request),
            Request::ListOffsets(request) => self.list_offsets(ask, request),
            Request::Fetch(request) => self.fetch(ask, request),
            Request::SaslHandshake(request) => self.sasl_handshake(ask, &request),
            Request::SaslAuthenticate(request) => self.sasl_authenticate(ask, &request),
        }
    }

    pub(super) fn violate(&mut self, id: ConnectionId, what: String) {
        self.violations.push(format!("connection {}: {what}", id.0));
    }

    /// The broker does not understand, and closes.
    pub(super) fn break_off(&mut self, id: ConnectionId, what: String) {
        self.violate(id, what);
        self.close(id, self.now + self.settings.latency);
    }

    pub(super) fn close(&mut self, id: ConnectionId, at: Duration) {
        if let Some(connection) = self.connections.get_mut(&id).filter(|found| !found.closing) {
            connection.close(at);
        }
    }

    pub(super) fn refuse(&mut self, at: &str, refusal: &Refusal) {
        self.refusals.push((refusal.code, format!("{at}: {}", refusal.why)));
    }

    pub(super) fn plan(&mut self, time: Duration, work: Work) {
        let number = self.number();
        self.agenda.insert((time, number), work);
    }

    pub(super) fn number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    pub(super) fn wall_ms(&self) -> i64 {
        self.settings.wall_ms + self.now.as_millis() as i64
    }

    pub(crate) fn is_open(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|found| !found.closed)
    }

    pub(crate) fn is_alive(&self, node: i32) -> bool {
        self.nodes.get(&node) == Some(&true)
    }

    pub(super) fn living(&self) -> Vec<i32> {
        self.nodes.iter().filter(|(_, alive)| **alive).map(|(node, _)| *node).collect()
    }

    pub(super) fn topic_mut(&mut self, name: &str) -> &mut Topic {
        self.topics.get_mut(name).expect("a topic that was created")
    }

    pub(super) fn topic_by_id(&self, id: u128) -> Option<(&String, &Topic)> {
        self.topics.iter().find(|(_, topic)| topic.id == id)
    }

    pub(super) fn partition_by_id(&mut self, id: u128, index: i32) -> Option<&mut Partition> {
        let topic = self.topics.values_mut().find(|topic| topic.id == id)?;
        topic.partitions.get_mut(usize::try_from(index).ok()?)
    }

    /// Followers fetch what the leader has now.
    pub(super) fn replicate(&mut self, topic: u128, index: i32) {
        let (delay, now) = (self.settings.replication, self.now);
        let Some(partition) = self.partition_by_id(topic, index) else { return };
        let (end, leader_epoch) = (partition.end(), partition.leader_epoch);
        match delay {
            Some(Duration::ZERO) => {
                partition.replicated(end);
                partition.told = end;
            }
            Some(delay) => {
                self.plan(
                    now + delay,
                    Work::Replicate { topic, partition: index, leader_epoch, end },
                );
            }
            None => {}
        }
    }

    pub(super) fn replicate_all(&mut self) {
        let all = self
            .topics
            .values()
            .flat_map(|topic| (0..topic.partitions.len()).map(|index| (topic.id, index as i32)));
        for (topic, index) in all.collect::<Vec<_>>() {
            self.replicate(topic, index);
        }
    }

    pub(super) fn advertise(&mut self) {
        if self.settings.metadata_delay.is_zero() {
            self.advertise_now();
        } else {
            self.plan(self.now + self.settings.metadata_delay, Work::Advertise);
        }
    }

    fn advertise_now(&mut self) {
        self.advertised_nodes = self.living();
        for partition in self.topics.values_mut().flat_map(|topic| &mut topic.partitions) {
            partition.advertised = (partition.leader, partition.leader_epoch);
        }
    }
}
