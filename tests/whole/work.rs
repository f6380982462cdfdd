//! What is done to the store and its logs, one operation at a time.

use std::time::Duration;

use forebay::{Consumer, ConsumerOptions, ErrorKind, Log, Offset, Visibility};

use super::books::There;
use super::compacted::{self, Newest, Walk};
use super::drive::World;
use super::judge;
use super::laws::{self, Law, Violation, broken};
use super::link::{self, Break};
use super::rules::{NAMES, budget, options};
use super::script::{Op, Verb};
use super::words::mix;

/// Records of a batch, and their bytes together.
pub(crate) const SHAPES: [(usize, usize); 8] =
    [(1, 40), (3, 900), (2, 1700), (1, 1000), (5, 200), (1, 0), (2, 3000), (7, 70)];

/// The consumers of a log: names, and whether they see only durable records.
pub(crate) const CONSUMERS: [(&str, bool); 2] = [("w", false), ("d", true)];

impl World {
    pub(crate) fn work(&mut self, op: &Op) -> Law {
        let [one, two, three] = op.numbers;
        let at = usize::from(one) % NAMES.len();
        let shape = SHAPES[usize::from(two) % SHAPES.len()];
        match op.verb {
            Verb::Append => self.append(at, shape),
            Verb::Pack => self.pack(at, shape, three),
            Verb::Linger => self.linger(at, shape, three),
            Verb::Compact => self.compact(at),
            Verb::Roll => (0..4).try_for_each(|_| self.append(at, (2, 1700))),
            Verb::Flush => self.flush(at),
            Verb::FlushAll => self.flush_all(),
            Verb::Maintain => self.on_store("maintain", |store| store.maintain().map(drop)),
            Verb::RetainAll => {
                self.on_store("retention", |store| store.apply_retention().map(drop))
            }
            Verb::Retain => self.on_log(at, "retention", |log| log.apply_retention().map(drop)),
            Verb::DeleteRecords => self.delete_records(at, i64::from(two.min(8))),
            Verb::DeleteLog => self.delete_log(at),
            Verb::Consume => self.consume(at, usize::from(two) % 2, usize::from(three)),
            Verb::SyncConsumer => self.sync_consumer(at, usize::from(two) % 2),
            Verb::DeleteConsumer => self.delete_consumer(at, usize::from(two) % 2),
            Verb::CommitBack => self.commit_back(at, usize::from(two) % 2),
            Verb::Ship => self.ship(at, two, three),
            Verb::Hold => self.hold(at),
            Verb::Rules => self.rules(at, two),
            Verb::Room => self.room(one),
            Verb::Reopen => self.reopen(),
            Verb::Read => self.read(at),
            _ => Ok(()),
        }
    }

    fn on_store(
        &mut self,
        what: &str,
        act: impl FnOnce(&forebay::Store) -> forebay::Result<()>,
    ) -> Law {
        let Some(store) = self.store.clone() else { return Ok(()) };
        match act(&store) {
            Ok(()) => Ok(()),
            Err(error) => self.failed(what, &error),
        }
    }

    fn on_log(
        &mut self,
        at: usize,
        what: &str,
        act: impl FnOnce(&Log) -> forebay::Result<()>,
    ) -> Law {
        let Some(log) = self.log(at)? else { return Ok(()) };
        self.books().before();
        let done = act(&log);
        self.observe(at, &log)?;
        match done {
            Ok(()) => Ok(()),
            Err(error) => self.failed(what, &error),
        }
    }

    fn flush(&mut self, at: usize) -> Law {
        let Some(log) = self.log(at)? else { return Ok(()) };
        let got = log.flush();
        let (end, failed) = self.book(at, |book| (book.model.end(), book.model.sync_failed));
        if failed && self.held[at].is_some() {
            laws::v12_a_failed_sync_poisons("flush", &got)?;
        }
        match got {
            Ok(durable) if durable.get() == end => self.book(at, |book| book.model.durable = end),
            Ok(durable) => return broken(1, format!("flushed to {durable} of {end}")),
            Err(error) => self.failed("flush", &error)?,
        }
        self.observe(at, &log)
    }

    fn flush_all(&mut self) -> Law {
        let Some(store) = self.store.clone() else { return Ok(()) };
        match store.flush() {
            Ok(()) => {
                for book in self.books().logs.iter_mut().filter(|book| book.is_covered()) {
                    book.model.durable = book.model.end();
                }
                Ok(())
            }
            Err(error) => self.failed("flush of the store", &error),
        }
    }

    fn delete_records(&mut self, at: usize, eighths: i64) -> Law {
        let Some(log) = self.log(at)? else { return Ok(()) };
        let before = self.book(at, |book| {
            let model = &mut book.model;
            let there: Vec<i64> = model.from(model.start).map(|batch| batch.base).collect();
            let nth = there.len() as i64 * eighths / 8;
            let before = there.get(nth as usize).copied().unwrap_or(model.end()).max(model.start);
            model.start_asked = model.start_asked.max(before);
            before
        });
        let got = log.delete_records(Offset::new(before));
        let start = log.log_start_offset().get();
        self.observe(at, &log)?;
        match got {
            Ok(told) if told.get() >= before && told.get() == start => Ok(()),
            Ok(told) => broken(4, format!("deleted below {before}, told {told}, start {start}")),
            Err(error) => self.failed("delete_records", &error),
        }
    }

    fn delete_log(&mut self, at: usize) -> Law {
        let Some(store) = self.store.clone() else { return Ok(()) };
        if self.book(at, |book| std::mem::replace(&mut book.there, There::Going)) == There::No {
            self.book(at, |book| book.there = There::No);
            return Ok(());
        }
        self.held[at] = None;
        let got = store.delete_log(NAMES[at]);
        let listed = store.logs().iter().any(|log| log.name == NAMES[at]);
        match got {
            Ok(_) if listed => broken(4, "deleted, and still listed".to_owned()),
            Ok(_) => {
                self.book(at, |book| {
                    book.next_life();
                });
                Ok(())
            }
            Err(error) => {
                self.book(at, |book| {
                    if !listed {
                        // Whether its name is gone for good, only a restart tells.
                        book.next_life();
                        book.there = There::Going;
                    }
                    book.blurred = true;
                });
                self.failed("delete_log", &error)
            }
        }
    }

    /// A consumer of this log, or why there is none.
    fn consumer(&mut self, at: usize, which: usize) -> Result<Option<(Log, Consumer)>, Violation> {
        let Some(log) = self.log(at)? else { return Ok(None) };
        let (name, durable) = CONSUMERS[which];
        self.book(at, |book| book.follow(name, durable));
        let visibility = if durable { Visibility::Durable } else { Visibility::Written };
        let got = log.consumer_with(name, ConsumerOptions::new().visibility(visibility));
        match got {
            Ok(consumer) => {
                let follow = |follower: &mut super::model::Follower| {
                    follower.commits.extend(follower.pending.take());
                };
                self.book(at, |book| book.model.follower(name).map(follow));
                Ok(Some((log, consumer)))
            }
            Err(error) => self.failed("consumer", &error).map(|()| None),
        }
    }

    fn consume(&mut self, at: usize, which: usize, polls: usize) -> Law {
        let Some((log, mut consumer)) = self.consumer(at, which)? else { return Ok(()) };
        for _ in 0..if polls > 8 { usize::MAX } else { polls + 1 } {
            let from = consumer.position().get();
            let polled = match consumer.poll(Duration::ZERO) {
                Ok(polled) => polled,
                Err(error) => return self.failed("poll", &error),
            };
            let Some(batch) = polled else { break };
            let durable = log.durable_offset().get();
            self.book(at, |book| {
                let from = from.max(log.log_start_offset().get());
                if CONSUMERS[which].1 {
                    book.model.durable = book.model.durable.max(batch.next_offset().get());
                    if batch.next_offset().get() > durable {
                        return broken(5, format!("{batch:?} was shown, durable is {durable}"));
                    }
                }
                let mut walk = Walk::new(book, from);
                walk.batch(&batch)?;
                let newest = Newest::below(book, book.highest());
                walk.left.gone.iter().try_for_each(|gone| newest.may_lack(*gone).map(drop))
            })?;
        }
        let position = consumer.position();
        self.commit(at, which, &mut consumer, position)?;
        drop(consumer);
        self.observe(at, &log)
    }

    fn commit(&mut self, at: usize, which: usize, consumer: &mut Consumer, to: Offset) -> Law {
        let name = CONSUMERS[which].0;
        self.book(at, |book| {
            if let Some(follower) = book.model.follower(name) {
                follower.pending = Some(to.get());
            }
        });
        self.books().before();
        let got = consumer.commit_offset(to);
        let taken = got.is_ok();
        self.book(at, |book| {
            if let Some(follower) = book.model.follower(name).filter(|_| taken) {
                follower.commits.extend(follower.pending.take());
            }
        });
        match got {
            Ok(()) => Ok(()),
            Err(error) => self.failed("commit", &error),
        }
    }

    fn commit_back(&mut self, at: usize, which: usize) -> Law {
        let Some((log, mut consumer)) = self.consumer(at, which)? else { return Ok(()) };
        let start = log.log_start_offset();
        self.commit(at, which, &mut consumer, start)
    }

    fn sync_consumer(&mut self, at: usize, which: usize) -> Law {
        let Some((log, consumer)) = self.consumer(at, which)? else { return Ok(()) };
        let got = consumer.sync();
        drop(consumer);
        match got {
            Ok(()) => self.book(at, |book| {
                for follower in &mut book.model.followers {
                    follower.synced = follower.commits.len();
                }
            }),
            Err(error) => self.failed("sync of a consumer", &error)?,
        }
        self.observe(at, &log)
    }

    fn delete_consumer(&mut self, at: usize, which: usize) -> Law {
        let Some(log) = self.log(at)? else { return Ok(()) };
        let name = CONSUMERS[which].0;
        let was = self.book(at, |book| {
            let was = book.model.follower(name).cloned();
            book.unfollow(name);
            was
        });
        match log.delete_consumer(name) {
            Ok(_) => self.observe(at, &log),
            Err(error) => {
                // It holds what it held.
                self.book(at, |book| book.model.followers.extend(was));
                self.failed("delete_consumer", &error)
            }
        }
    }

    fn ship(&mut self, at: usize, after: u16, how: u16) -> Law {
        // There is something to ship, always: a replicator with nothing to do waits for it.
        self.append(at, SHAPES[0])?;
        let Some(log) = self.log(at)? else { return Ok(()) };
        if self.book(at, |book| book.model.sync_failed || book.model.end() == book.model.start) {
            return Ok(());
        }
        let nth = self.book(at, |book| book.model.number);
        let end = Break { after, how, seed: mix(self.ground.disk.seed ^ nth) % 1000 };
        if log.flush().is_err() || log.durable_offset().get() != log.log_end_offset().get() {
            return self.observe(at, &log);
        }
        self.observe(at, &log)?;
        let shipped = link::ship(&log, &self.upstream, &self.books, at, end)?;
        self.observe(at, &log)?;
        if let Err(error) = shipped {
            self.failed("replicator", &error)?;
        }
        let book = self.book(at, |book| book.clone());
        let upstream = self.upstream.lock().unwrap().clone();
        link::compare(&upstream, at, &book)
    }

    fn hold(&mut self, at: usize) -> Law {
        self.held[at] = match self.held[at].take() {
            Some(_) => None,
            None => self.log(at)?,
        };
        Ok(())
    }

    fn rules(&mut self, at: usize, rule: u16) -> Law {
        let rule = rule % super::script::RULES as u16;
        self.book(at, |book| book.rules = [rule, book.rules[0]]);
        self.change()?;
        self.book(at, |book| book.rules = [rule; 2]);
        Ok(())
    }

    fn room(&mut self, room: u16) -> Law {
        let most = budget(&self.ground, room);
        {
            let mut books = self.books();
            books.room = room;
            books.budget_max = books.budget_max.max(most);
        }
        self.change()
    }

    fn change(&mut self) -> Law {
        let (rules, room) = {
            let mut books = self.books();
            books.before();
            (books.rules(), books.room)
        };
        let options = options(&self.ground, &rules, room);
        self.on_store("options", |store| store.set_options(options))
    }

    fn reopen(&mut self) -> Law {
        self.held.fill(None);
        let Some(store) = self.store.take() else { return Ok(()) };
        match store.close() {
            Ok(()) => self.settle(),
            Err(error) if error.kind() == ErrorKind::Closed => {}
            Err(error) => {
                self.unsettle();
                self.failed("closing the store", &error)?;
            }
        }
        self.open().map(drop)
    }

    /// The store was closed.
    pub(crate) fn settle(&self) {
        for book in self.books().logs.iter_mut().filter(|book| book.is_covered()) {
            book.settle();
        }
    }

    /// That failed: what a log had then is none of the next one's, until that opens it.
    pub(crate) fn unsettle(&self) {
        for book in self.books().logs.iter_mut().filter(|book| book.there == There::Yes) {
            book.unopened = true;
        }
    }

    fn read(&mut self, at: usize) -> Law {
        let Some(log) = self.log(at)? else { return Ok(()) };
        if self.books().faulty {
            return Ok(());
        }
        let book = self.book(at, |book| book.clone());
        let (seen, left) = judge::look(&log, &book)?;
        if book.thinned_below == 0 && book.compacted_below() == 0 {
            laws::v7_an_index_is_a_cache(&log, &seen, &book.model)?;
        } else {
            compacted::v7_an_index_is_a_cache(&log, (seen.start, seen.end), &left)?;
        }
        match log.verify() {
            // A power cut may have torn the slot that was being written.
            Ok(report) if report.damaged_ranges == 0 && report.faults.len() < 2 => Ok(()),
            other => broken(10, format!("verify: {other:?}")),
        }
    }
}
