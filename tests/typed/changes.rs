//! What becomes of stored values when their type changes: every line of the table in `docs::typed`.

use forebay::{ErrorKind, Log, OffsetSpec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Json;
use crate::util::scratch;

/// What a value that was stored is to a program with another type.
fn becomes<Old, New>(old: &Old) -> forebay::Result<New>
where
    Old: Serialize + DeserializeOwned,
    New: Serialize + DeserializeOwned,
{
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    log.typed::<Old>().append(old).unwrap();
    let mut reader = log.typed::<New>().reader(OffsetSpec::Earliest).unwrap();
    reader.next().unwrap().map(|record| record.into_value().unwrap())
}

#[track_caller]
fn refused<New>(done: forebay::Result<New>) -> String {
    let Err(error) = done else { panic!("it is read") };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.record_offset().unwrap().get(), 0);
    error.to_string()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    celsius: f64,
    sensor: String,
}

fn old() -> Old {
    Old { celsius: 21.5, sensor: "sensor-7".into() }
}

#[test]
fn renaming_changes_nothing() {
    #[derive(Serialize, Deserialize)]
    struct Renamed {
        degrees: f64,
        name: String,
    }
    let new: Renamed = becomes(&old()).unwrap();
    assert_eq!((new.degrees, new.name.as_str()), (21.5, "sensor-7"));
    #[derive(Serialize, Deserialize)]
    enum Before {
        Idle,
        Running(u32),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum After {
        Off,
        On(u32),
    }
    assert_eq!(becomes::<_, After>(&Before::Running(7)).unwrap(), After::On(7));
    assert_eq!(becomes::<_, After>(&Before::Idle).unwrap(), After::Off);
}

#[test]
fn a_field_more_or_less_is_an_error() {
    #[derive(Serialize, Deserialize)]
    struct More {
        celsius: f64,
        sensor: String,
        unit: u8,
    }
    #[derive(Serialize, Deserialize)]
    struct Less {
        celsius: f64,
    }
    refused(becomes::<_, More>(&old()));
    assert!(refused(becomes::<_, Less>(&old())).contains("bytes are left over"));
    let more = More { celsius: 21.5, sensor: "sensor-7".into(), unit: 1 };
    assert!(refused(becomes::<_, Old>(&more)).contains("1 bytes are left over"));
    refused(becomes::<_, Old>(&Less { celsius: 21.5 }));
}

#[test]
fn fields_that_change_places_are_read_wrongly() {
    #[derive(Serialize, Deserialize)]
    struct Before {
        inside: f64,
        outside: f64,
    }
    #[derive(Serialize, Deserialize)]
    struct After {
        outside: f64,
        inside: f64,
    }
    let after: After = becomes(&Before { inside: 21.5, outside: -3.0 }).unwrap();
    assert_eq!((after.inside, after.outside), (-3.0, 21.5), "wrong, and nobody says so");
}

#[test]
fn wider_numbers_read_narrow_ones() {
    for number in [0, 1, 250, 251, 65_535, 65_536, u32::MAX] {
        assert_eq!(becomes::<_, u64>(&number).unwrap(), u64::from(number));
    }
    for number in [0, -1, 125, -126, 40_000, i32::MIN, i32::MAX] {
        assert_eq!(becomes::<_, i64>(&number).unwrap(), i64::from(number));
    }
    for number in 0..=u8::MAX {
        let wider = becomes::<_, u16>(&number);
        match number {
            ..=250 => assert_eq!(wider.unwrap(), u16::from(number)),
            _ => drop(refused(wider)),
        }
    }
    // With more behind it, it may be another number without an error.
    #[derive(Serialize, Deserialize)]
    struct Narrow(u8, u8, u8);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wide(u16);
    assert_eq!(becomes::<_, Wide>(&Narrow(251, 1, 1)).unwrap(), Wide(257));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum TwoVersions {
    V1 { celsius: f64 },
    V2 { kelvin: f64, sensor: String },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum OneVersion {
    V1 { celsius: f64 },
}

#[test]
fn a_variant_at_the_end_is_an_error_to_older_programs_alone() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    let new = log.typed::<TwoVersions>();
    new.append(&TwoVersions::V1 { celsius: 1.0 }).unwrap();
    new.append(&TwoVersions::V2 { kelvin: 2.0, sensor: "s".into() }).unwrap();
    new.append(&TwoVersions::V1 { celsius: 3.0 }).unwrap();
    let read: Vec<_> = log.typed::<OneVersion>().reader(OffsetSpec::Earliest).unwrap().collect();
    let value = |at: usize| read[at].as_ref().unwrap().value();
    assert_eq!(value(0), Some(&OneVersion::V1 { celsius: 1.0 }));
    assert_eq!(read[1].as_ref().unwrap_err().record_offset().unwrap().get(), 1);
    assert_eq!(value(2), Some(&OneVersion::V1 { celsius: 3.0 }));
}

#[test]
fn old_versions_are_read_beside_new_ones() {
    let v1 = OneVersion::V1 { celsius: 21.5 };
    assert_eq!(becomes::<_, TwoVersions>(&v1).unwrap(), TwoVersions::V1 { celsius: 21.5 });
    let v2 = TwoVersions::V2 { kelvin: 294.65, sensor: "s".into() };
    assert_eq!(becomes::<_, TwoVersions>(&v2).unwrap(), v2);
}

#[test]
fn variants_that_change_places_are_read_wrongly() {
    #[derive(Serialize, Deserialize)]
    enum Before {
        Opened,
        Closed,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum After {
        Closed,
        Opened,
    }
    assert_eq!(becomes::<_, After>(&Before::Opened).unwrap(), After::Closed, "and no error");
    assert_eq!(becomes::<_, After>(&Before::Closed).unwrap(), After::Opened);
}

/// As one that names fields would have it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct WithDefault {
    celsius: f64,
    sensor: String,
    #[serde(default)]
    unit: Option<String>,
}

#[test]
fn defaults_are_for_codecs_that_know_names() {
    refused(becomes::<_, WithDefault>(&old()));
}

#[test]
fn attributes_that_need_names_are_errors() {
    #[derive(Serialize, Deserialize)]
    struct Skips {
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        number: u64,
    }
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Number { number: u64 },
    }
    #[derive(Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        old: Old,
    }
    /// Not read back, whether it is refused on the way in or on the way out.
    fn not_read_back<T: Serialize + DeserializeOwned>(value: &T) {
        let dir = scratch();
        let log = Log::open(dir.path()).unwrap();
        let values = log.typed::<T>();
        if values.append(value).is_ok() {
            let read = values.reader(OffsetSpec::Earliest).unwrap().next().unwrap();
            assert_eq!(read.err().unwrap().kind(), ErrorKind::Corrupt);
        }
    }
    not_read_back(&Skips { note: None, number: 7 });
    not_read_back(&Untagged::Number(7));
    not_read_back(&Tagged::Number { number: 7 });
    not_read_back(&Flat { old: old() });
}

#[test]
fn a_codec_with_names_takes_fields_more_and_less() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    let (olds, news) = (log.typed_with::<Old, _>(Json), log.typed_with::<WithDefault, _>(Json));
    olds.append(&old()).unwrap();
    let unit = Some("C".to_owned());
    news.append(&WithDefault { celsius: 1.0, sensor: "s".into(), unit }).unwrap();
    let new: Vec<_> = news.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect();
    assert_eq!(new[0].value().unwrap().unit, None, "the default");
    assert_eq!(new[1].value().unwrap().unit.as_deref(), Some("C"));
    let older: Vec<_> = olds.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect();
    assert_eq!(older[1].value().unwrap().sensor, "s", "what is not known is passed over");
}

#[test]
fn a_header_tells_which_type_to_decode() {
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    let (first, second) = (log.typed::<f64>(), log.typed::<Old>());
    let v1 = first.record(&21.5).unwrap().header("schema", "1");
    let v2 = second.record(&old()).unwrap().header("schema", "2");
    log.append_batch([v1, v2]).unwrap();
    let batch = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
    let mut seen = Vec::new();
    for record in batch.records() {
        let record = record.unwrap();
        let schema = record.headers().find(|(name, _)| *name == "schema").unwrap().1;
        seen.push(match schema {
            Some(b"1") => first.decode(&record).unwrap().unwrap(),
            _ => second.decode(&record).unwrap().unwrap().celsius,
        });
    }
    assert_eq!(seen, [21.5, 21.5]);
}
