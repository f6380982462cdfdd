//! A device that refuses writes, under a real filesystem: run by `tests/campaign/run write-errors`,
//! which makes the filesystem and spoils its blocks (I8).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use forebay::{ErrorKind, IoMode, Log, Offset};

use crate::util::{MODES, all_texts, kind, manual};

struct Thin {
    dir: PathBuf,
    ask: PathBuf,
    /// Where the filesystem is that a power cut would have left.
    cut: PathBuf,
}

impl Thin {
    fn ask(&self, what: &str) {
        fs::write(self.ask.join("asking"), format!("{what}\n")).unwrap();
        fs::rename(self.ask.join("asking"), self.ask.join("asked")).unwrap();
        for _ in 0..600 {
            if fs::remove_file(self.ask.join("done")).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("nobody answers");
    }

    fn open(&self, name: &str, mode: IoMode) -> Log {
        manual(mode).open(self.dir.join(name)).unwrap()
    }
}

fn poisoned(log: &Log) {
    assert_eq!(kind(log.append("more")), ErrorKind::Poisoned);
    assert_eq!(kind(log.flush()), ErrorKind::Poisoned, "a retry would be called a success");
}

/// I8, V1: the segment's blocks cannot be written, then the checkpoint's: the flush and the commit
/// say so, nothing of them counts, and what was durable before is there when the device recovers.
/// What the next open calls durable outlives a power cut: in the block that was refused ext4 would
/// keep nothing.
#[test]
fn what_a_device_refuses_is_never_called_durable() {
    let Some(dir) = std::env::var_os("FOREBAY_TEST_THIN") else { return };
    let ask = std::env::var_os("FOREBAY_TEST_ASK").unwrap().into();
    let cut = std::env::var_os("FOREBAY_TEST_CUT").unwrap().into();
    let thin = Thin { dir: dir.into(), ask, cut };
    // Longer than the block that the first record lies in.
    let refused = "refused ".repeat(1000);
    for mode in MODES {
        let name = format!("segment-{mode:?}");
        let log = thin.open(&name, mode);
        log.append("durable").unwrap();
        log.flush().unwrap();
        thin.ask(&format!("spoil /{name}/00000000000000000000.log"));
        log.append(refused.as_str()).unwrap();
        assert_eq!(kind(log.flush()), ErrorKind::Io, "{mode:?}");
        assert_eq!(log.durable_offset(), Offset::new(1));
        poisoned(&log);
        drop(log);
        thin.ask("heal");
        let log = thin.open(&name, mode);
        assert_eq!(all_texts(&log), ["durable", &refused], "the page cache has it");
        assert!(log.recovery().segments_rewritten == 1, "{:?}", log.recovery());
        assert_eq!(log.durable_offset(), Offset::new(2), "written into a new file, and synced");
        thin.ask("cut");
        let left = manual(mode).open(thin.cut.join(&name)).unwrap();
        assert_eq!(all_texts(&left), ["durable", &refused], "{mode:?}");
        drop(left);
        thin.ask("uncut");
        log.close().unwrap();

        let name = format!("checkpoint-{mode:?}");
        let log = thin.open(&name, mode);
        log.append("x").unwrap();
        log.flush().unwrap();
        let mut consumer = log.consumer("c").unwrap();
        thin.ask(&format!("spoil /{name}/checkpoint"));
        consumer.commit_offset(Offset::new(1)).unwrap();
        assert_eq!(kind(consumer.sync()), ErrorKind::Io, "{mode:?}");
        assert_eq!(kind(consumer.sync()), ErrorKind::Poisoned);
        poisoned(&log);
        drop((log, consumer));
        thin.ask("heal");
        let log = thin.open(&name, mode);
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(Offset::new(1)).unwrap();
        consumer.sync().unwrap();
        log.append("y").unwrap();
        log.flush().unwrap();
        log.close().unwrap();
        println!("\n{mode:?}: refused writes poisoned the log, and a cut took nothing then");
    }
}
