//! Plans and manifests of one film of each kind, as text that a person can review. A change of any decision shows
//! here as a difference to be read and agreed to (`UPDATE_EXPECT=1` writes the files anew).

mod films;
mod planned;

use expect_test::expect_file;
use reelmill_common::job::JobOptions;
use reelmill_plan::{manifest, report};

#[test]
fn plans() {
    for (name, index) in films::all() {
        let plan = planned::plan(&index, &JobOptions::default(), 2).unwrap();
        expect_file![format!("{}/tests/golden/plans/{name}.txt", env!("CARGO_MANIFEST_DIR"))]
            .assert_eq(&report::dump(&plan));
    }
}

/// A long film of a tenant that shares the slots with another.
#[test]
fn a_shared_plan() {
    let plan = planned::plan_shared(&films::cinema_24(), &JobOptions::default(), 2, 20_000).unwrap();
    expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/plans/cinema_24_shared.txt")]
        .assert_eq(&report::dump(&plan));
}

#[test]
fn manifests() {
    for (name, index) in [
        ("ntsc_film", films::ntsc_film()),
        ("surround", films::surround()),
        ("sound_only", films::sound_only()),
        ("screen_vfr", films::screen_vfr()),
    ] {
        let plan = planned::plan(&index, &JobOptions::default(), 2).unwrap();
        let files = manifest::write(&plan, &planned::facts(&plan)).unwrap();
        let text: String = files
            .into_iter()
            .map(|f| format!("==== {}\n{}\n", f.name, String::from_utf8(f.bytes).unwrap()))
            .collect();
        expect_file![format!("{}/tests/golden/manifests/{name}.txt", env!("CARGO_MANIFEST_DIR"))]
            .assert_eq(&text);
    }
}
