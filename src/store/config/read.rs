//! From text to options, with the line of whatever is wrong.
//!
//! Floor 5. Each key is read by itself first, so that an error is that key's; then a table as a
//! whole, on top of what it inherits. Checks across keys name the option they refuse first.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer, ValueDeserializer};

use super::Config;
use crate::log::options::LogOptions;
use crate::store::names::{LogName, check_log_name};
use crate::store::options::StoreOptions;
use crate::words::error::{Error, Result, one_line};
use crate::words::limits;

/// Reads a configuration.
pub(super) fn read(text: &str) -> Result<Config> {
    let source = Source(text);
    let root = DeTable::parse(text).map_err(|error| source.syntax(&error))?.into_inner();
    let (mut store, mut defaults) = (Section::absent("[store]"), Section::absent("[defaults]"));
    let mut logs = Vec::new();
    for (key, value) in root {
        match key.get_ref().as_ref() {
            "store" => store = source.section("[store]".into(), &key, value)?,
            "defaults" => defaults = source.section("[defaults]".into(), &key, value)?,
            "logs" => logs = source.logs(&key, value)?,
            other => {
                let text =
                    format!("unknown, a file has the tables store, defaults and logs.{NAME}");
                return Err(source.wrong(key.span().start, other, &text));
            }
        }
    }
    let mut options: StoreOptions = source.options(&store, None)?;
    options.logs = source.log_options(&defaults, None)?;
    let mut partitions = BTreeMap::new();
    for (name, mut log) in logs {
        if let Some(count) = source.partitions(&name, &mut log)? {
            partitions.insert(name.clone(), count);
        }
        options.named.insert(name, source.log_options(&log, Some(&defaults))?);
    }
    options.check().map_err(|error| source.refused(&error, &store, None))?;
    Ok(Config { store: options, partitions })
}

/// How a log's table is spoken of.
const NAME: &str = "\"name\"";

/// The one key of a log's table that is no option of a log.
const PARTITIONS: &str = "partitions";

/// The text of a file, to find lines in.
struct Source<'t>(&'t str);

/// A table of it.
struct Section<'t> {
    /// As it is written.
    place: String,
    /// Where its name is, if it is there.
    at: Option<usize>,
    keys: DeTable<'t>,
}

impl Section<'_> {
    fn absent(place: &str) -> Section<'static> {
        Section { place: place.to_owned(), at: None, keys: DeTable::new() }
    }

    /// Where a key of it is.
    fn find(&self, key: &str) -> Option<usize> {
        let mut keys = self.keys.keys();
        keys.find(|found| found.get_ref() == key).map(|found| found.span().start)
    }
}

impl<'t> Source<'t> {
    /// An error at this byte; `what` begins with what it is about.
    fn wrong(&self, at: usize, place: &str, what: &str) -> Error {
        let before = self.0.as_bytes().iter().take(at);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Error::invalid(format!("line {line}, {}", one_line(&format!("{place}: {what}"))))
    }

    fn syntax(&self, error: &toml::de::Error) -> Error {
        let at = error.span().map_or(0, |span| span.start);
        self.wrong(at, "syntax", error.message())
    }

    fn section(
        &self,
        place: String,
        key: &Spanned<DeString<'t>>,
        value: Spanned<DeValue<'t>>,
    ) -> Result<Section<'t>> {
        let at = key.span().start;
        match value.into_inner() {
            DeValue::Table(keys) => Ok(Section { place, at: Some(at), keys }),
            other => {
                let text = format!("this is a table, not of the type {}", other.type_str());
                Err(self.wrong(at, &place, &text))
            }
        }
    }

    /// The tables of the logs, by name.
    fn logs(
        &self,
        key: &Spanned<DeString<'t>>,
        value: Spanned<DeValue<'t>>,
    ) -> Result<Vec<(String, Section<'t>)>> {
        let tables = self.section(format!("[logs.{NAME}]"), key, value)?;
        let (mut logs, mut folded) = (Vec::new(), HashMap::<String, LogName>::new());
        for (key, value) in tables.keys {
            let name = key.get_ref().as_ref().to_owned();
            let place = format!("[logs.{name:?}]");
            let wrong = |error: Error| self.wrong(key.span().start, &place, error.what_failed());
            check_log_name(&name).map_err(wrong)?;
            let log = LogName::new(&name, 0).map_err(wrong)?;
            if let Some(other) = folded.get(&log.folded()) {
                log.check_beside(other).map_err(wrong)?;
            }
            folded.insert(log.folded(), log);
            let section = self.section(place.clone(), &key, value)?;
            logs.push((name, section));
        }
        Ok(logs)
    }

    /// How many partitions a log's table gives it; the key is taken out.
    fn partitions(&self, name: &str, log: &mut Section<'t>) -> Result<Option<u32>> {
        let mut found = None;
        let keys = std::mem::take(&mut log.keys);
        for (key, value) in keys {
            match key.get_ref() == PARTITIONS {
                true => found = Some((key.span().start, value)),
                false => drop(log.keys.insert(key, value)),
            }
        }
        let Some((at, value)) = found else { return Ok(None) };
        let place = format!("{} {PARTITIONS}", log.place);
        let count = u32::deserialize(ValueDeserializer::from(value))
            .map_err(|error| self.wrong(at, &place, error.message()))?;
        if !(1..=limits::PARTITIONS_MAX).contains(&count) {
            let text = format!("is {count}, allowed is 1 to {}", limits::PARTITIONS_MAX);
            return Err(self.wrong(at, &place, &text));
        }
        LogName::new(name, count - 1)
            .map_err(|error| self.wrong(at, &place, error.what_failed()))?;
        Ok(Some(count))
    }

    /// Options of a log, checked.
    fn log_options(&self, table: &Section<'t>, below: Option<&Section<'t>>) -> Result<LogOptions> {
        let options: LogOptions = self.options(table, below)?;
        options.check().map_err(|error| self.refused(&error, table, below))?;
        Ok(options)
    }

    /// Options by a table, on top of those that it inherits.
    fn options<S: DeserializeOwned>(
        &self,
        table: &Section<'t>,
        below: Option<&Section<'t>>,
    ) -> Result<S> {
        let mut all = below.map_or_else(DeTable::new, |below| below.keys.clone());
        for (key, value) in &table.keys {
            let one = DeTable::from_iter([(key.clone(), value.clone())]);
            of_table::<S>(one).map_err(|error| {
                let at = error.span().unwrap_or_else(|| key.span()).start;
                self.wrong(at, &format!("{} {}", table.place, key.get_ref()), error.message())
            })?;
            all.insert(key.clone(), value.clone());
        }
        let at = table.at.unwrap_or_default();
        of_table(all).map_err(|error| self.wrong(at, &table.place, error.message()))
    }

    /// What a check refused, at the key that its text begins with: in the table itself, or where
    /// that has it from. A default that does not fit the rest is nowhere: then at the table.
    fn refused(&self, error: &Error, table: &Section<'t>, below: Option<&Section<'t>>) -> Error {
        let what = error.what_failed();
        let end = what.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let key = end.and_then(|end| what.get(..end)).unwrap_or_default();
        if let Some(at) = table.find(key) {
            return self.wrong(at, &table.place, what);
        }
        match below.and_then(|below| Some((below, below.find(key)?))) {
            Some((below, at)) => {
                let text = format!("{what}; it counts in {} too", table.place);
                self.wrong(at, &below.place, &text)
            }
            None => self.wrong(table.at.unwrap_or_default(), &table.place, what),
        }
    }
}

fn of_table<S: DeserializeOwned>(table: DeTable<'_>) -> Result<S, toml::de::Error> {
    S::deserialize(Deserializer::from(Spanned::new(0..0, table)))
}
