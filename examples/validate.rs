//! A schema check at the edge: what a sensor sends is looked at before it is in the log.
//!
//! A reading is 12 bytes: a sensor's number, a unit and a value. Whatever is not one goes to a
//! second log, with the field that was wrong, so that it can be looked at later.
//!
//! Run: `cargo run --example validate`; it writes to a directory below the system's temporary one,
//! and removes it.
//!
//! Expected output, the errors shortened:
//! ```text
//! record 0 of the batch, counted from 0, is refused: unit: "psi " is none of degC, hPa, %RH ...
//! record 0 of the batch, counted from 0, is refused: sensor: numbers begin with 1 ...
//! record 0 of the batch, counted from 0, is refused: value: NaN is no number ...
//! record 0 of the batch, counted from 0, is refused: value: a reading has 12 bytes, this has 6 ...
//! 2 of 6 are readings
//! kept apart for unit: 12 bytes
//! kept apart for sensor: 12 bytes
//! kept apart for value: 12 bytes
//! kept apart for value: 6 bytes
//! ```

use forebay::{Log, NewRecord, OffsetSpec, Refusal};

/// What the readings of a sensor are in.
const UNITS: [&[u8; 4]; 3] = [b"degC", b"hPa ", b"%RH "];

/// Sensor (u16), unit (4 bytes), reserved (u16, zero), value (f32); all little endian.
fn check(record: &NewRecord<'_>) -> Result<(), Refusal> {
    let value = record.get_value().ok_or_else(|| Refusal::new("value", "a reading has one"))?;
    let reading: &[u8; 12] = value.try_into().map_err(|_| {
        Refusal::new("value", format!("a reading has 12 bytes, this has {}", value.len()))
    })?;
    let [s0, s1, u0, u1, u2, u3, r0, r1, v0, v1, v2, v3] = *reading;
    if u16::from_le_bytes([s0, s1]) == 0 {
        return Err(Refusal::new("sensor", "numbers begin with 1"));
    }
    if !UNITS.contains(&&[u0, u1, u2, u3]) {
        let unit = String::from_utf8_lossy(&[u0, u1, u2, u3]).into_owned();
        return Err(Refusal::new("unit", format!("{unit:?} is none of degC, hPa, %RH")));
    }
    if [r0, r1] != [0, 0] {
        return Err(Refusal::new("reserved", "is not zero"));
    }
    let value = f32::from_le_bytes([v0, v1, v2, v3]);
    if !value.is_finite() {
        return Err(Refusal::new("value", format!("{value} is no number")));
    }
    match record.get_headers().any(|(name, _)| name == "site") {
        true => Ok(()),
        false => Err(Refusal::new("site", "the header is missing")),
    }
}

fn reading(sensor: u16, unit: &[u8; 4], value: f32) -> Vec<u8> {
    [&sensor.to_le_bytes()[..], unit, &[0, 0], &value.to_le_bytes()].concat()
}

fn main() -> forebay::Result<()> {
    let dir = std::env::temp_dir().join(format!("forebay-validate-{}", std::process::id()));
    let log = Log::options().validate(check).open(dir.join("readings"))?;
    let refused = Log::open(dir.join("refused"))?;
    let sent = [
        reading(1, b"degC", 21.5),
        reading(2, b"psi ", 14.7),
        reading(2, b"hPa ", 1013.2),
        reading(0, b"%RH ", 40.0),
        reading(3, b"%RH ", f32::NAN),
        b"21.5 C".to_vec(),
    ];
    for value in &sent {
        let record = NewRecord::new(value).header("site", "mill 4");
        if let Err(error) = log.append(record.clone()) {
            let Some(field) = error.refused_field() else { return Err(error) };
            println!("{error}");
            refused.append(record.header("refused", field))?;
        }
    }
    println!("{} of {} are readings", log.log_end_offset(), sent.len());
    for batch in refused.reader(OffsetSpec::Earliest)? {
        for record in batch?.records() {
            let record = record?;
            let field = record.headers().find(|(name, _)| *name == "refused");
            let field = field.and_then(|(_, field)| field).unwrap_or_default();
            let field = String::from_utf8_lossy(field);
            println!("kept apart for {field}: {} bytes", record.value().len());
        }
    }
    log.close()?;
    refused.close()?;
    let _ = std::fs::remove_dir_all(dir);
    Ok(())
}
