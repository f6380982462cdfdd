//! Readings of a serde type, an enum of versions, keyed by their sensor.
//!
//! `cargo run --example typed --features typed [DIR]`: appends a reading of each version, then says
//! what every record of the log is to the program of today, and passes over one that is none:
//!
//! ```text
//! offset 0, boiler: 359.65 K
//! offset 1, roof: 291.75 K
//! offset 2: the value is no typed::Stored: ...
//! offset 3, boiler: gone
//! ```

use std::path::PathBuf;

use forebay::{Log, OffsetSpec};
use serde::{Deserialize, Serialize};

/// What is stored. New versions go to the end, and old ones stay.
#[derive(Serialize, Deserialize)]
enum Stored {
    V1 { sensor: String, celsius: f64 },
    V2 { sensor: String, kelvin: f64 },
}

impl Stored {
    fn sensor(&self) -> &str {
        match self {
            Stored::V1 { sensor, .. } | Stored::V2 { sensor, .. } => sensor,
        }
    }

    fn kelvin(&self) -> f64 {
        match self {
            Stored::V1 { celsius, .. } => celsius + 273.15,
            Stored::V2 { kelvin, .. } => *kelvin,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or(scratch.path().to_owned(), PathBuf::from);
    let log = Log::open(dir)?;
    let readings = log.typed::<Stored>().key(|reading| reading.sensor().to_owned());
    readings.append_batch([
        Stored::V1 { sensor: "boiler".into(), celsius: 86.5 },
        Stored::V2 { sensor: "roof".into(), kelvin: 291.75 },
    ])?;
    log.append("from a program of another kind")?;
    readings.append_tombstone("boiler")?;
    for record in readings.reader(OffsetSpec::Earliest)? {
        match record {
            Ok(record) => {
                let sensor = String::from_utf8_lossy(record.key().unwrap_or_default());
                let said = match record.value() {
                    Some(reading) => format!("{:.2} K", reading.kelvin()),
                    None => "gone".to_owned(),
                };
                println!("offset {}, {sensor}: {said}", record.offset());
            }
            Err(error) => match error.record_offset() {
                Some(offset) => println!("offset {offset}: {}", error.what_failed()),
                None => return Err(error.into()),
            },
        }
    }
    log.close()?;
    Ok(())
}
