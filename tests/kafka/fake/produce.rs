//! Produce: every batch is read to its last byte, judged, appended, and answered once replicated.

use std::time::Duration;

use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    ProduceResponse, TopicProduceResponse,
};

use super::answers::{Ask, Waiting};
use super::batch::{self, Refusal, Rules};
use super::cluster::{Cluster, Topic};
use super::metadata::host;
use super::metadata::{NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION};
use super::partition::Verdict;
use super::wire::{self, text};

const REQUEST_TIMED_OUT: i16 = 7;

/// What must be replicated before a partition is answered.
#[derive(Clone, Debug)]
struct Wait {
    topic: u128,
    leader_epoch: i32,
    end: i64,
}

/// One partition of a request, on its way to an answer.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// By which the request names the topic: its name or its id.
    topic: (String, u128),
    index: i32,
    refusal: Option<Refusal>,
    base_offset: i64,
    append_time: i64,
    log_start: i64,
    wait: Option<Wait>,
}

impl Part {
    /// Behind the append: brokers then say where it is all the same.
    fn fail(&mut self, code: i16, why: &str) {
        self.wait = None;
        self.refusal = Some(Refusal::new(code, why));
    }
}

impl Cluster {
    pub(super) fn produce(&mut self, ask: Ask, request: ProduceRequest) {
        if request.acks != -1 || request.transactional_id.is_some() || request.timeout_ms <= 0 {
            let what = format!(
                "Produce with acks {}, transactional id {:?}, timeout {} ms",
                request.acks, request.transactional_id, request.timeout_ms
            );
            return self.break_off(ask.connection, what);
        }
        let mut parts = Vec::new();
        for topic in &request.topic_data {
            let named = (topic.name.to_string(), topic.topic_id.as_u128());
            for data in &topic.partition_data {
                parts.push(self.produce_to(&ask, &named, data));
            }
        }
        let timeout = Duration::from_millis(u64::from(request.timeout_ms.unsigned_abs()));
        self.wait(ask, timeout, Waiting::Produce(parts));
    }

    fn produce_to(
        &mut self,
        ask: &Ask,
        named: &(String, u128),
        data: &PartitionProduceData,
    ) -> Part {
        let mut part = Part {
            topic: named.clone(),
            index: data.index,
            refusal: None,
            base_offset: -1,
            append_time: -1,
            log_start: -1,
            wait: None,
        };
        if ask.acts() {
            let at = format!("Produce to {}-{}", named.0, data.index);
            if let Err(refusal) = self.append(ask, &mut part, data) {
                self.refuse(&at, &refusal);
                let log_start = part.log_start;
                part.log_start = if refusal.by_log { log_start } else { -1 };
                (part.base_offset, part.append_time) = (-1, -1);
                part.refusal = Some(refusal);
            }
        }
        part
    }

    fn append(
        &mut self,
        ask: &Ask,
        part: &mut Part,
        data: &PartitionProduceData,
    ) -> Result<(), Refusal> {
        let by_id = ask.head.version >= 13;
        let name = if by_id {
            let found = self.topic_by_id(part.topic.1).map(|(name, _)| name.clone());
            found.ok_or_else(|| Refusal::new(UNKNOWN_TOPIC_ID, "no topic has this id"))?
        } else {
            part.topic.0.clone()
        };
        let unknown = || Refusal::new(UNKNOWN_TOPIC_OR_PARTITION, "not there");
        let topic = self.topics.get(&name).ok_or_else(unknown)?;
        let index = usize::try_from(data.index).map_err(|_| unknown())?;
        let found = topic.partitions.get(index).ok_or_else(unknown)?;
        let leader = found.leader;
        part.log_start = found.log_start;
        if leader != Some(ask.node) {
            let why = format!("node {} does not lead, {leader:?} does", ask.node);
            return Err(Refusal::new(NOT_LEADER_OR_FOLLOWER, why));
        }
        let rules = self.rules(topic);
        let mut disliked = Vec::new();
        let checked = batch::check(data.records.as_deref().unwrap_or(&[]), &rules, &mut disliked);
        for what in disliked {
            self.violate(ask.connection, format!("{name}-{index}: {what}"));
        }
        let batch = checked?;
        let append_time = rules.log_append_time.then_some(rules.now_ms);
        let topic = self.topic_mut(&name);
        let id = topic.id;
        let partition = &mut topic.partitions[index];
        let (base_offset, end, append_time) = match partition.judge(&batch)? {
            Verdict::Append => {
                let base_offset = partition.append(batch, append_time);
                (base_offset, partition.end(), append_time)
            }
            Verdict::Duplicate { base_offset, end, timestamp } => {
                (base_offset, end, Some(timestamp))
            }
        };
        part.base_offset = base_offset;
        part.append_time = append_time.unwrap_or(-1);
        part.wait = Some(Wait { topic: id, leader_epoch: partition.leader_epoch, end });
        self.replicate(id, data.index);
        Ok(())
    }

    /// What the topic and the cluster ask of a batch.
    fn rules(&self, topic: &Topic) -> Rules {
        let config = |name: &str| self.config(topic, name).unwrap_or_default();
        let number =
            |name: &str| self.config(topic, name).map(|text| text.parse().expect("a number"));
        let difference = number("message.timestamp.difference.max.ms").unwrap_or(i64::MAX);
        Rules {
            max_bytes: number("max.message.bytes").unwrap_or(i64::MAX),
            compacted: config("cleanup.policy").contains("compact"),
            log_append_time: config("message.timestamp.type") == "LogAppendTime",
            now_ms: self.wall_ms(),
            before_max_ms: number("message.timestamp.before.max.ms").unwrap_or(difference),
            after_max_ms: number("message.timestamp.after.max.ms").unwrap_or(difference),
            producer_id_required: self.settings.producer_id_required,
            decompress: self.settings.decompress,
        }
    }

    /// The answer, unless a partition still waits.
    pub(super) fn produced(
        &mut self,
        ask: &Ask,
        parts: &mut [Part],
        late: bool,
    ) -> Option<Vec<u8>> {
        for part in parts.iter_mut() {
            let Some(wait) = part.wait.clone() else { continue };
            match self.partition_by_id(wait.topic, part.index) {
                None => part.fail(UNKNOWN_TOPIC_OR_PARTITION, "deleted meanwhile"),
                Some(found) if found.leader_epoch != wait.leader_epoch => {
                    part.fail(NOT_LEADER_OR_FOLLOWER, "the leader has changed");
                }
                Some(found) if found.high_watermark >= wait.end => part.wait = None,
                Some(_) if late => part.fail(REQUEST_TIMED_OUT, "not replicated"),
                Some(_) => {}
            }
        }
        if parts.iter().any(|part| part.wait.is_some()) {
            return None;
        }
        let mut response = ProduceResponse::default().with_throttle_time_ms(ask.throttle_ms());
        for part in parts.iter() {
            let answer = self.part_answer(ask, part, &mut response.node_endpoints);
            let topic = TopicProduceResponse::default()
                .with_name(text(part.topic.0.clone()).into())
                .with_topic_id(super::metadata::uuid(part.topic.1));
            let same = |found: &&mut TopicProduceResponse| {
                found.name == topic.name && found.topic_id == topic.topic_id
            };
            match response.responses.iter_mut().find(same) {
                Some(found) => found.partition_responses.push(answer),
                None => response.responses.push(topic.with_partition_responses(vec![answer])),
            }
        }
        Some(wire::answer(&ask.head, &response))
    }

    fn part_answer(
        &self,
        ask: &Ask,
        part: &Part,
        endpoints: &mut Vec<NodeEndpoint>,
    ) -> PartitionProduceResponse {
        let mut part = part.clone();
        if let Some(code) = ask.forced() {
            part.fail(code, "by order");
        }
        let mut answer = PartitionProduceResponse::default()
            .with_index(part.index)
            .with_base_offset(part.base_offset)
            .with_log_append_time_ms(part.append_time)
            .with_log_start_offset(part.log_start)
            .with_error_message(None);
        let Some(refusal) = part.refusal.clone() else { return answer };
        answer.error_code = refusal.code;
        // Brokers say why where they name records, and little where they do not.
        let why = text(refusal.why);
        for record in &refusal.records {
            let wrong = BatchIndexAndErrorMessage::default().with_batch_index(*record);
            answer.record_errors.push(wrong.with_batch_index_error_message(Some(why.clone())));
            answer.error_message = Some(why.clone());
        }
        let leader = self.leader_of(&part);
        if let Some((node, epoch)) = leader.filter(|_| refusal.code == NOT_LEADER_OR_FOLLOWER) {
            let current = LeaderIdAndEpoch::default();
            answer.current_leader = current.with_leader_id(node.into()).with_leader_epoch(epoch);
            if ask.head.version >= 10 && !endpoints.iter().any(|known| known.node_id == node) {
                let endpoint = NodeEndpoint::default().with_node_id(node.into());
                let endpoint = endpoint.with_host(text(host(node))).with_port(9092).with_rack(None);
                endpoints.push(endpoint);
            }
        }
        answer
    }

    /// Who leads now, if anyone does.
    fn leader_of(&self, part: &Part) -> Option<(i32, i32)> {
        let by_name = self.topics.get(&part.topic.0);
        let topic = by_name.or_else(|| self.topic_by_id(part.topic.1).map(|(_, topic)| topic))?;
        let partition = topic.partitions.get(usize::try_from(part.index).ok()?)?;
        Some((partition.leader?, partition.leader_epoch))
    }
}
