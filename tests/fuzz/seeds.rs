//! Inputs to begin with, made of what real logs wrote.

use std::fs;
use std::path::Path;

use forebay::simulation::{Disk, Profile};
use forebay::{Log, NewRecord, Offset, Store};

use super::crash::words::{Line, Op};
use super::operations;

/// A target's name, the seed's name, and its bytes.
pub(crate) type Seed = (&'static str, String, Vec<u8>);

/// Every seed there is.
pub(crate) fn all() -> Vec<Seed> {
    let mut seeds = batches();
    seeds.extend(files());
    seeds.extend(indexes());
    seeds.extend(texts());
    seeds.extend(changes());
    seeds.extend(compactions());
    seeds.extend(workloads());
    seeds
}

/// The first batches of a segment file, each behind the decisions of `batch_decode`.
fn of_segment(name: &str, bytes: &[u8], seeds: &mut Vec<Seed>) {
    let (mut at, mut count) = (0, 0);
    while let Some(length) = bytes.get(at + 8..at + 12).filter(|_| count < 4) {
        let length = i32::from_be_bytes(length.try_into().unwrap());
        let Some(batch) = bytes.get(at..at + 12 + length as usize).filter(|_| length > 0) else {
            break;
        };
        if batch.len() < 3000 {
            let mode = [0_u8, 1, 5, 9][count % 4];
            let seed = [&[mode, 1, 2, 3, 4], batch].concat();
            seeds.push(("batch_decode", format!("{name}-{count}"), seed));
        }
        (at, count) = (at + batch.len(), count + 1);
    }
}

fn batches() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors");
    let mut dirs: Vec<_> = fs::read_dir(vectors).unwrap().map(|dir| dir.unwrap().path()).collect();
    dirs.sort();
    for dir in dirs.into_iter().filter(|dir| dir.is_dir()) {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        for file in fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|kind| kind == "log") {
                of_segment(&name, &fs::read(&file).unwrap(), &mut seeds);
            }
        }
    }
    for kind in 0..8_u8 {
        let mut records = vec![3 | kind << 2, 0, 9, 0, 5, 3, 200, 0, 0, 0, 0, 0, 0, 1, 0];
        records.extend([0; 8]);
        for record in 0..6 {
            records.extend([kind << 5 | record << 1 | kind & 1, 4, 6, 0, 5]);
            records.extend_from_slice(b"a key and a value");
        }
        seeds.push(("batch_decode", format!("records-{kind}"), records));
    }
    seeds
}

/// A log with everything in its small files, on a disk.
fn log() -> Disk {
    let disk = Disk::new(Profile::default());
    let options = Log::options().segment_bytes(4096).max_batch_bytes(4096);
    let log = options.index_interval_bytes(200).open_on(&disk, "/log").unwrap();
    for n in 0..60 {
        log.append(NewRecord::new(format!("value {n}").repeat(20)).key(format!("{n}"))).unwrap();
    }
    log.flush().unwrap();
    for name in ["a", "uplink", "a-longer-name-of-a-reader"] {
        log.consumer(name).unwrap().commit_offset(Offset::new(7)).unwrap();
    }
    log.close().unwrap();
    disk
}

fn files() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let disk = log();
    let slot = |bytes: &[u8], at: usize| {
        let slot = bytes.get(at..)?;
        let length = u32::from_be_bytes(slot.get(8..12)?.try_into().ok()?) as usize;
        slot.get(..length).filter(|slot| slot.len() > 16).map(<[u8]>::to_vec)
    };
    let store_disk = Disk::new(Profile::default());
    let store = Store::options().open_on(&store_disk, "/store").unwrap();
    for name in ["engine", "cabin", "door"] {
        store.log(name).unwrap().append("21.5 C").unwrap();
    }
    store.close().unwrap();
    let kinds = [
        (disk.read_file("/log/checkpoint").unwrap(), 0, 4),
        (store_disk.read_file("/store/store.checkpoint").unwrap(), 1, 44),
    ];
    for (bytes, plain, mended) in kinds {
        for (n, slot) in (0..6).filter_map(|n| slot(&bytes, n * 4096)).enumerate() {
            let frame = [&slot[6..8], &slot[12..slot.len() - 4]].concat();
            seeds.push(("checkpoint", format!("slot-{plain}-{n}"), [&[plain], &slot[..]].concat()));
            let head = [mended, 0, 7, 1];
            seeds.push(("checkpoint", format!("mended-{plain}-{n}"), [&head, &frame[..]].concat()));
        }
    }
    for n in 0..8_u8 {
        let pages: Vec<u8> =
            (0..6).flat_map(|page| [(page * 3 + n) | n << 5, page ^ n, 9]).collect();
        seeds.push(("checkpoint", format!("file-{n}"), [&[61, n], &pages[..]].concat()));
        let life =
            [62 + (n & 1), n * 31, n, 0, 0, 3, 1, 4, 0, 5, 1, 3, 0, 7, 1, 2, 3, 4, 6, 0, 9, 2];
        seeds.push(("checkpoint", format!("life-{n}"), life.to_vec()));
    }
    for (n, path) in ["/log/log.meta", "/store/store.meta"].into_iter().enumerate() {
        let disk = [&disk, &store_disk][n];
        let text = disk.read_file(path).unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"crc32"));
        let body: Vec<u8> = lines.skip(1).flat_map(|line| [line, b"\n"].concat()).collect();
        let n = n as u8;
        seeds.push(("meta", format!("whole-{n}"), [&[n], &text[..]].concat()));
        seeds.push(("meta", format!("mended-{n}"), [&[n + 2, 0, 50, 0], &body[..]].concat()));
        let source = b"source=0123456789abcdef0123456789abcdef\r\nseal=on\n";
        let more = [&[n + 2, 0, 50, 0], &body[..], source].concat();
        seeds.push(("meta", format!("more-{n}"), more));
    }
    for n in 0..16_u8 {
        let values = [&[4, n, 1, n], &[n; 48][..]].concat();
        seeds.push(("meta", format!("values-{n}"), values));
        seeds.push(("meta", format!("lines-{n}"), vec![5, 0, n, 2, 1, 4, n, 0, 5, 3, 2, 1]));
        seeds.push(("meta", format!("beside-{n}"), vec![6, n & 3, n, n >> 2, n + 1, 9, 1, 2, 3]));
    }
    seeds
}

fn indexes() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let disk = log();
    for name in disk.file_names("/log").into_iter().filter(|name| name.ends_with("index")) {
        let bytes = disk.read_file(format!("/log/{name}")).unwrap();
        let seed = [&[0, 0, 0, 16, 0], &bytes[..]].concat();
        seeds.push(("index_lookup", name, seed));
    }
    for n in 0..16_u8 {
        let mut rule = vec![1, 0, 0, 1, n, 1, n * 16, 8];
        rule.extend((0..120_u8).map(|byte| byte.wrapping_mul(n * 2 + 3)));
        seeds.push(("index_lookup", format!("rule-{n}"), rule));
        for kind in 0..4_u8 {
            let mut look = vec![2, (n * 16) | kind, 30, 60, n, kind, 0];
            look.extend((0..40_u8).map(|byte| byte.wrapping_mul(n * 2 + 5)));
            seeds.push(("index_lookup", format!("look-{n}-{kind}"), look));
        }
    }
    seeds
}

fn texts() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let example = include_str!("../../examples/forebay.toml");
    let bare: String = example.lines().filter(|line| !line.starts_with("# ")).collect();
    let all = example.replace("# [logs", "[logs").replace("# flush", "flush");
    let on = all.replace("# on_full", "on_full").replace("# partitions", "partitions");
    for (n, text) in [example, &bare, &on].into_iter().enumerate() {
        seeds.push(("config", format!("example-{n}"), [&[0], text.as_bytes()].concat()));
    }
    for n in 0..24_u8 {
        let mut words = vec![1 | (n & 1) << 2];
        words.extend((0..24_u8).map(|byte| byte.wrapping_mul(n * 6 + 37).wrapping_add(n)));
        seeds.push(("config", format!("words-{n}"), words));
        let key = 64 + (n * 5) % 180;
        seeds.push(("config", format!("log-{n}"), vec![5, 2, key, n, 90, 2, 1, key, n + 1]));
    }
    seeds
}

fn changes() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for flags in 0..16_u8 {
        for kind in 0..10_u8 {
            let change =
                [flags | (kind & 1) << 4, kind, kind, 1, 40, 60, 7, 200, 1, 9, 3, 8, 8, 0, 90];
            seeds.push(("segment_recovery", format!("{flags}-{kind}"), change.to_vec()));
        }
    }
    seeds
}

/// Segments of few keys, compacted in every setting, with one thing in between.
fn compactions() -> Vec<Seed> {
    let mut seeds = Vec::new();
    // What one byte and its arguments do: see the steps of the target.
    let between: [&[u8]; 10] = [
        &[13, 1],
        &[14, 6, 1, 7, 2],
        &[15, 3],
        &[12, 90, 4],
        &[20, 40, 200, 6, 0, 9, 5],
        &[21, 70, 9, 0, 0, 0, 6],
        &[19, 3, 2, 7],
        &[18, 1, 3, 9, 64, 8],
        &[22, 0, 9, 22, 5, 1],
        &[23, 2],
    ];
    for setting in 0..16_u8 {
        let flags = setting << 4 | setting.wrapping_mul(5) & 15;
        for (n, between) in
            between.iter().enumerate().filter(|(n, _)| n % 4 == setting as usize % 4)
        {
            let fill = [5, setting.wrapping_mul(37), 3];
            // A mirror's batch says two things more.
            let tombstones = [0, 2, 1, 9, 5, 0, 10, 7, 20, 1, 6];
            let tombstones = &tombstones[..if flags & 32 == 0 { 9 } else { 11 }];
            let (compact, wait) = ([10, 8], [16, 110, 7, 1]);
            let parts: [&[u8]; 12] = [
                &[flags, setting],
                &fill,
                tombstones,
                &fill,
                &compact,
                between,
                &fill,
                &wait,
                &compact,
                &wait,
                &fill,
                &compact,
            ];
            seeds.push(("compaction", format!("setting-{setting}-{n}"), parts.concat()));
        }
    }
    seeds
}

/// The lines that once broke a law, and short workloads, each with a cut.
fn workloads() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let known = include_str!("../crash_states/seeds.txt").lines();
    let lines = known.filter_map(|line| line.parse::<Line>().ok());
    for (n, line) in lines.filter(|line| line.ops.len() <= 24).enumerate() {
        let seed = operations::input_of(n as u8, &line.ops);
        seeds.push(("operations", format!("line-{n}"), seed));
    }
    let grown = super::crash::workloads_grown();
    for flags in 0..32_u8 {
        let more = [Op::Reopen, Op::Kill, Op::Power(3), Op::Fault(5), Op::Roll, Op::Delete];
        let ops: Vec<Op> = grown
            .iter()
            .copied()
            .chain([more[usize::from(flags) % more.len()], Op::Flush])
            .collect();
        let mut seed = operations::input_of(flags * 8, &ops);
        seed[2] = 1 + (flags & 1) * 240;
        seed.splice(3..3, [0, flags * 7, flags, 0, flags]);
        seeds.push(("operations", format!("grown-{flags}"), seed));
    }
    seeds
}
