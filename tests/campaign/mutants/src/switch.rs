// Which mutation is on, from FOREBAY_MUTANT; and, with FOREBAY_MUTANT_HITS, which were met.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

struct Setting {
    active: u32,
    hits: Option<memmap2::MmapRaw>,
}

static SETTING: OnceLock<Setting> = OnceLock::new();

fn setting() -> &'static Setting {
    SETTING.get_or_init(|| {
        let number = std::env::var("FOREBAY_MUTANT").ok();
        let hits = std::env::var_os("FOREBAY_MUTANT_HITS").map(|path| {
            let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
            memmap2::MmapRaw::map_raw(&file).unwrap()
        });
        Setting { active: number.map_or(u32::MAX, |number| number.parse().unwrap()), hits }
    })
}

#[inline]
pub(crate) fn on(number: u32) -> bool {
    let setting = setting();
    if let Some(hits) = &setting.hits {
        // SAFETY: the map has a byte for each number, and bytes are written atomically.
        let hit = unsafe { &*hits.as_mut_ptr().add(number as usize).cast::<AtomicU8>() };
        hit.store(1, Ordering::Relaxed);
    }
    setting.active == number
}
