//! What happens to a cluster from outside: leaders move, nodes die, topics come and go.

use std::time::Duration;

use super::cluster::{Cluster, Work};
use super::partition::{Keep, Partition};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// To the next living node, if none is named.
    MoveLeader {
        topic: String,
        partition: i32,
        to: Option<i32>,
        keep: Keep,
    },
    /// Its connections close, and others lead after the election's delay. `keep` is what they have.
    Kill {
        node: i32,
        keep: Keep,
    },
    Restart {
        node: i32,
    },
    /// As a proxy or a balancer does.
    CloseConnections {
        node: i32,
    },
    /// The leaders of a topic forget all producers, as after an expiry.
    ForgetProducers {
        topic: String,
    },
    /// The check that brokers make every ten minutes.
    ExpireProducers,
    Delete {
        topic: String,
    },
    /// Deleted, and created again with the same settings and another id.
    Recreate {
        topic: String,
    },
    Grow {
        topic: String,
        partitions: usize,
    },
    ClusterId(String),
    /// How long followers take; with none, they have stopped.
    Replication(Option<Duration>),
    /// Retention has deleted what lies below.
    Trim {
        topic: String,
        partition: i32,
        offset: i64,
    },
    Configure {
        topic: String,
        name: String,
        value: String,
    },
}

impl Cluster {
    pub(crate) fn act(&mut self, action: Action, now: Duration) {
        self.advance(now);
        self.do_action(action);
        self.complete();
    }

    /// Plans an action.
    pub(crate) fn at(&mut self, time: Duration, action: Action) {
        self.plan(time, Work::Act(action));
    }

    pub(super) fn do_action(&mut self, action: Action) {
        match action {
            Action::MoveLeader { topic, partition, to, keep } => {
                self.move_leader(&topic, partition, to, keep);
            }
            Action::Kill { node, keep } => self.kill(node, keep),
            Action::Restart { node } => self.restart(node),
            Action::CloseConnections { node } => self.close_connections(node),
            Action::ForgetProducers { topic } => {
                for partition in &mut self.topic_mut(&topic).partitions {
                    let ids: Vec<_> = partition.producers.keys().copied().collect();
                    ids.into_iter().for_each(|id| partition.forget(id));
                }
            }
            Action::ExpireProducers => self.expire_producers(),
            Action::Delete { topic } => {
                self.topics.remove(&topic).expect("a topic to delete");
            }
            Action::Recreate { topic } => {
                let old = self.topics.remove(&topic).expect("a topic to delete");
                let configs: Vec<_> = old
                    .configs
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                self.create_topic(&topic, old.partitions.len(), &configs);
            }
            Action::Grow { topic, partitions } => {
                let nodes = self.living();
                let topic = self.topic_mut(&topic);
                for n in topic.partitions.len()..partitions {
                    topic.partitions.push(Partition::new(nodes[n % nodes.len()]));
                }
            }
            Action::ClusterId(id) => self.settings.cluster_id = id,
            Action::Replication(delay) => {
                self.settings.replication = delay;
                self.replicate_all();
            }
            Action::Trim { topic, partition, offset } => {
                let partition = &mut self.topic_mut(&topic).partitions[partition as usize];
                assert!(offset <= partition.high_watermark, "retention deletes what is replicated");
                partition.log_start = partition.log_start.max(offset);
            }
            Action::Configure { topic, name, value } => {
                self.topic_config(&topic, &name, &value);
            }
        }
    }

    fn move_leader(&mut self, topic: &str, index: i32, to: Option<i32>, keep: Keep) {
        let old = self.topic_mut(topic).partitions[index as usize].leader;
        let living = self.living();
        let next = living.iter().find(|node| old.is_none_or(|old| **node > old));
        let Some(leader) = to.or(next.or(living.first()).copied()) else { return };
        let topic = self.topic_mut(topic);
        topic.partitions[index as usize].take_over(leader, keep);
        let id = topic.id;
        self.replicate(id, index);
        self.advertise();
    }

    fn kill(&mut self, node: i32, keep: Keep) {
        self.nodes.insert(node, false);
        self.close_connections(node);
        let mut orphans = Vec::new();
        for topic in self.topics.values_mut() {
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                if partition.leader == Some(node) {
                    partition.orphan(keep);
                    orphans.push((topic.id, index as i32));
                }
            }
        }
        for (topic, partition) in orphans {
            self.plan(self.now + self.settings.election_delay, Work::Elect { topic, partition });
        }
        self.advertise();
    }

    fn restart(&mut self, node: i32) {
        self.nodes.insert(node, true);
        let mut led = Vec::new();
        for topic in self.topics.values_mut() {
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                if partition.leader.is_none() {
                    partition.take_over(node, partition.kept);
                    led.push((topic.id, index as i32));
                }
                partition.reload(node);
            }
        }
        for (topic, partition) in led {
            self.replicate(topic, partition);
        }
        self.advertise();
    }

    /// The end of a planned election: the next living node leads, or nobody.
    pub(super) fn elect(&mut self, topic: u128, index: i32) {
        let Some(leader) = self.living().first().copied() else { return };
        let Some(partition) = self.partition_by_id(topic, index) else { return };
        if partition.leader.is_some() {
            return;
        }
        partition.take_over(leader, partition.kept);
        self.replicate(topic, index);
        self.advertise();
    }

    fn close_connections(&mut self, node: i32) {
        let now = self.now;
        for connection in self.connections.values_mut() {
            if connection.node == node && !connection.closing {
                // What is under way is lost with the node.
                connection.slots.clear();
                connection.close(now);
            }
        }
    }

    /// Forgets producers by the time in their records, as brokers do.
    fn expire_producers(&mut self) {
        let (now_ms, age_ms_max) = (self.wall_ms(), self.settings.producer_id_expiration_ms());
        for topic in self.topics.values_mut() {
            for partition in &mut topic.partitions {
                partition.expire(now_ms, age_ms_max);
            }
        }
    }
}
