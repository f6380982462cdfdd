//! What is asked of the cluster as a whole: producer ids, settings, new topics.

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicResult, CreateTopicsResponse,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
};
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeConfigsRequest, InitProducerIdRequest, InitProducerIdResponse,
};

use super::answers::Ask;
use super::cluster::{Cluster, Topic};
use super::metadata::{INVALID_REQUEST, UNKNOWN_TOPIC_OR_PARTITION, uuid};
use super::wire::{self, text};

const INVALID_TOPIC_EXCEPTION: i16 = 17;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_CONFIG: i16 = 40;
const NOT_CONTROLLER: i16 = 41;

/// Brokers hand out ids from blocks of this many.
const BLOCK: i64 = 1000;

const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;

/// Where a value comes from, as DescribeConfigs numbers it.
const FROM_TOPIC: i8 = 1;
const FROM_DEFAULT: i8 = 5;

impl Cluster {
    /// Without a transactional id every call returns an id that nobody had.
    pub(super) fn init_producer_id(&mut self, ask: Ask, request: &InitProducerIdRequest) {
        let mut code = 0;
        if let Some(id) = &request.transactional_id {
            if !id.is_empty() {
                let what = format!("InitProducerId for the transactional id {id:?}");
                return self.break_off(ask.connection, what);
            }
            // What codecs take for none.
            self.violate(ask.connection, "InitProducerId for an empty transactional id".into());
            code = INVALID_REQUEST;
        }
        let code = ask.forced().unwrap_or(code);
        let mut response = InitProducerIdResponse::default()
            .with_throttle_time_ms(ask.throttle_ms())
            .with_error_code(code)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        if ask.acts() {
            let id = self.next_producer_id(ask.node);
            if code == 0 {
                response = response.with_producer_id(id.into()).with_producer_epoch(0);
            }
        }
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
    }

    fn next_producer_id(&mut self, node: i32) -> i64 {
        let next = self.producer_ids.get(&node).copied().filter(|id| id % BLOCK != 0);
        let blocks = self.producer_ids.values().map(|id| (id + BLOCK - 1) / BLOCK).max();
        let id = next.unwrap_or(blocks.unwrap_or(0) * BLOCK);
        self.producer_ids.insert(node, id + 1);
        id
    }

    /// What the topic is configured with, by itself or by default.
    pub(super) fn config(&self, topic: &Topic, name: &str) -> Option<String> {
        topic.configs.get(name).or_else(|| self.settings.topic_defaults.get(name)).cloned()
    }

    pub(super) fn describe_configs(&mut self, ask: Ask, request: &DescribeConfigsRequest) {
        let results = request.resources.iter().map(|resource| {
            let described = match ask.forced() {
                Some(code) => Err(code),
                None => self.configs_of(&ask, resource),
            };
            let result = DescribeConfigsResult::default()
                .with_error_message(None)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match described {
                Ok(configs) => result.with_configs(configs),
                Err(code) => result.with_error_code(code),
            }
        });
        let response = DescribeConfigsResponse::default().with_results(results.collect());
        let response = response.with_throttle_time_ms(ask.throttle_ms());
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
    }

    /// A topic's from any node; a node's from itself.
    fn configs_of(
        &self,
        ask: &Ask,
        resource: &DescribeConfigsResource,
    ) -> Result<Vec<DescribeConfigsResourceResult>, i16> {
        let name = resource.resource_name.as_str();
        let (own, defaults) = match resource.resource_type {
            TOPIC_RESOURCE => {
                let topic = self.topics.get(name).ok_or(UNKNOWN_TOPIC_OR_PARTITION)?;
                (topic.configs.clone(), &self.settings.topic_defaults)
            }
            BROKER_RESOURCE if name == ask.node.to_string() => {
                (Default::default(), &self.settings.broker_configs)
            }
            // The defaults of all nodes, of which none was set.
            BROKER_RESOURCE if name.is_empty() => return Ok(Vec::new()),
            _ => return Err(INVALID_REQUEST),
        };
        let mut all = defaults.clone();
        all.extend(own.clone());
        let asked = |name: &String| match &resource.configuration_keys {
            Some(keys) => keys.iter().any(|key| key.as_str() == name),
            None => true,
        };
        let found = all.into_iter().filter(|(name, _)| asked(name)).map(|(name, value)| {
            let source = if own.contains_key(&name) { FROM_TOPIC } else { FROM_DEFAULT };
            DescribeConfigsResourceResult::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
                .with_config_source(source)
                .with_documentation(None)
        });
        Ok(found.collect())
    }

    pub(super) fn create_topics(&mut self, ask: Ask, request: CreateTopicsRequest) {
        let mut response = CreateTopicsResponse::default().with_throttle_time_ms(ask.throttle_ms());
        for asked in &request.topics {
            let name = asked.name.to_string();
            let partitions = if asked.num_partitions == -1 { 1 } else { asked.num_partitions };
            let checked = match ask.forced() {
                Some(code) => Err(code),
                None => self.may_create(&ask, asked),
            };
            let acts = ask.acts() && !request.validate_only && self.may_create(&ask, asked).is_ok();
            if acts {
                let configs: Vec<_> = asked
                    .configs
                    .iter()
                    .map(|config| (config.name.as_str(), config.value.as_deref().unwrap_or("")))
                    .collect();
                self.create_topic(&name, partitions as usize, &configs);
            }
            let result = CreatableTopicResult::default()
                .with_name(asked.name.clone())
                .with_error_message(None);
            response.topics.push(match checked {
                Err(code) => result
                    .with_error_code(code)
                    .with_num_partitions(-1)
                    .with_replication_factor(-1)
                    .with_configs(None),
                Ok(()) => result
                    .with_topic_id(uuid(self.topics.get(&name).map_or(0, |topic| topic.id)))
                    .with_num_partitions(partitions)
                    .with_replication_factor(self.factor(asked)),
            });
        }
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
    }

    fn factor(&self, asked: &CreatableTopic) -> i16 {
        if asked.replication_factor == -1 { 1 } else { asked.replication_factor }
    }

    fn may_create(&self, ask: &Ask, asked: &CreatableTopic) -> Result<(), i16> {
        let name = asked.name.as_str();
        let legal = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        let factor = usize::try_from(self.factor(asked)).unwrap_or(0);
        if self.settings.controller_only && self.controller() != Some(ask.node) {
            Err(NOT_CONTROLLER)
        } else if self.topics.contains_key(name) {
            Err(TOPIC_ALREADY_EXISTS)
        } else if !(1..=249).contains(&name.len())
            || !name.chars().all(legal)
            || name == "."
            || name == ".."
        {
            Err(INVALID_TOPIC_EXCEPTION)
        } else if asked.num_partitions == 0 || asked.num_partitions < -1 {
            Err(INVALID_PARTITIONS)
        } else if factor == 0 || factor > self.living().len() {
            Err(INVALID_REPLICATION_FACTOR)
        } else if asked
            .configs
            .iter()
            .any(|config| !self.settings.topic_defaults.contains_key(config.name.as_str()))
        {
            Err(INVALID_CONFIG)
        } else {
            Ok(())
        }
    }
}
