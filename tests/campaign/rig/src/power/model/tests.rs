use super::*;

/// A file with synced bytes under a synced name, and one of each kind of loose piece.
fn disk(mode: Names) -> Model {
    let mut model = Model::new(&Image::default(), mode, Planted::Nothing);
    let name = |name: &str, number| Change::Name {
        dir: ROOT,
        name: name.to_owned(),
        number,
        is_dir: false,
    };
    for change in [
        name("a", 11),
        Change::Write { number: 11, at: 0, bytes: vec![1; 1000] },
        Change::SyncFile { number: 11 },
        Change::SyncDir { number: ROOT },
        name("b", 12),
        Change::Write { number: 11, at: 1000, bytes: vec![2; 1000] },
        Change::Rename { dir: ROOT, name: "a".into(), to_dir: ROOT, to: "c".into() },
    ] {
        model.apply(&change);
    }
    model
}

fn keeps(model: &Model) -> impl Iterator<Item = Keep> {
    let masks = (0..1 << model.loose()).map(Keep::Mask);
    let chance = (0..200).flat_map(|n| [Keep::Some(n), Keep::Prefix(n), Keep::Prefixes(n)]);
    masks.chain(chance).chain([Keep::None, Keep::All])
}

#[test]
fn what_was_synced_is_in_every_state_and_the_rest_in_some() {
    let model = disk(Names::Strict);
    // The name of b, the length, sectors 1, 2 and 3 of the file, and the rename.
    assert_eq!(model.loose(), 6);
    let mut lengths = BTreeSet::new();
    let mut names = BTreeSet::new();
    for keep in keeps(&model) {
        let image = model.cut(keep);
        let found = image.files.get("a").or(image.files.get("c"));
        let (_, bytes) = found.unwrap_or_else(|| panic!("{keep:?}: neither name of it is there"));
        assert_eq!(bytes[..1000], [1; 1000], "{keep:?}");
        lengths.insert(bytes.len());
        names.insert(image.files.keys().cloned().collect::<String>());
    }
    assert_eq!(lengths, BTreeSet::from([1000, 2000]));
    assert_eq!(names, ["a", "c", "ab", "bc"].map(str::to_owned).into());
}

#[test]
fn a_journal_keeps_names_in_their_order() {
    let model = disk(Names::Journal);
    for keep in keeps(&model) {
        let names: String = model.cut(keep).files.keys().cloned().collect();
        assert!(["a", "ab", "bc"].contains(&names.as_str()), "{keep:?}: {names}");
    }
}

#[test]
fn what_a_failed_sync_forgot_is_read_and_is_in_no_state() {
    let mut model = disk(Names::Strict);
    model.apply(&Change::Forget { number: 11 });
    model.apply(&Change::SyncFile { number: 11 });
    assert_eq!(model.cache(11).map(|bytes| bytes[1500]), Some(2));
    for keep in keeps(&model) {
        let image = model.cut(keep);
        let (_, bytes) = image.files.get("a").or(image.files.get("c")).expect("synced");
        assert_eq!(bytes.len(), 2000);
        assert!(bytes[1000..].iter().all(|byte| *byte == 0), "{keep:?}");
    }
}

#[test]
fn syncs_that_lie_keep_nothing() {
    let mut model = Model::new(&Image::default(), Names::Strict, Planted::LyingDirSync);
    let (dir, name) = (ROOT, "a".to_owned());
    model.apply(&Change::Name { dir, name, number: 11, is_dir: false });
    model.apply(&Change::SyncDir { number: ROOT });
    assert!(model.cut(Keep::None).files.is_empty());
}
