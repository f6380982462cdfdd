//! From options to text.
//!
//! Floor 5. What is written reads as what it was written from.

use std::fmt::Write;

use serde::Serialize;
use toml::{Table, Value};

use super::Config;
use crate::words::error::{Error, Result};

/// The text of a file that says this.
pub(super) fn text_of(config: &Config) -> Result<String> {
    let defaults = table_of(&config.store.logs)?;
    let mut text = String::new();
    add(&mut text, "[store]", table_of(&config.store)?);
    add(&mut text, "\n[defaults]", defaults.clone());
    for (name, options) in &config.store.named {
        let mut own = table_of(options)?;
        own.retain(|key, value| defaults.get(key) != Some(value));
        if let Some(partitions) = config.partitions.get(name) {
            own.insert("partitions".to_owned(), Value::Integer(i64::from(*partitions)));
        }
        // Letters, digits, '.', '_' and '-': nothing in it needs an escape.
        add(&mut text, &format!("\n[logs.\"{name}\"]"), own);
    }
    Ok(text)
}

fn table_of<S: Serialize>(options: &S) -> Result<Table> {
    Table::try_from(options).map_err(|error| {
        Error::invalid(format!("an option cannot be written in a configuration file: {error}"))
    })
}

/// Writes a table, each value in its line.
fn add(text: &mut String, header: &str, table: Table) {
    let lines = table.iter().map(|(key, value)| format!("{key} = {value}\n"));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{header}\n{}", lines.collect::<String>().trim_end());
}
