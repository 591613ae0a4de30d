//! The walls between the crates, read from `cargo metadata`: who may depend on whom, inside and outside. A new edge
//! is a decision; it is made here and said in the commit.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The whole graph of our own crates: an edge that is not here is forbidden, an edge that is here is in use or allowed.
const INSIDE: [(&str, &[&str]); 11] = [
    ("reelmill-common", &[]),
    ("reelmill-proto", &["reelmill-common"]),
    ("reelmill-media", &["reelmill-common"]),
    ("reelmill-blob", &["reelmill-common"]),
    ("reelmill-plan", &["reelmill-common"]),
    ("reelmill-coordinator-core", &["reelmill-common"]),
    ("reelmill-worker-core", &["reelmill-common", "reelmill-media"]),
    (
        "reelmill-coordinator",
        &["reelmill-common", "reelmill-proto", "reelmill-blob", "reelmill-plan", "reelmill-coordinator-core"],
    ),
    (
        "reelmill-worker",
        &["reelmill-common", "reelmill-proto", "reelmill-media", "reelmill-blob", "reelmill-worker-core"],
    ),
    (
        "reelmill",
        &["reelmill-common", "reelmill-proto", "reelmill-blob", "reelmill-coordinator", "reelmill-worker"],
    ),
    (
        "reelmill-tests",
        &["reelmill-common", "reelmill-coordinator-core", "reelmill-worker-core", "reelmill-plan"],
    ),
];

/// The third-party crates of the pure crates, all of them. No runtime, no clock, no randomness, no wire format.
const PURE: [(&str, &[&str]); 5] = [
    ("reelmill-common", &["sha2", "thiserror"]),
    ("reelmill-plan", &["thiserror"]),
    ("reelmill-coordinator-core", &["thiserror"]),
    ("reelmill-worker-core", &["thiserror"]),
    ("reelmill-media", &["bytes", "mp4-atom", "thiserror", "sha2"]),
];

/// (crate, who alone may depend on it, why).
const RESERVED: [(&str, &[&str], &str); 8] = [
    ("prost", &["reelmill-proto"], "wire and stored formats stop at proto"),
    ("prost-types", &["reelmill-proto"], "wire and stored formats stop at proto"),
    ("tonic-prost", &["reelmill-proto"], "wire and stored formats stop at proto"),
    ("redb", &["reelmill-coordinator"], "state belongs to the leader; workers hold no client for it"),
    ("etcd-client", &["reelmill-coordinator"], "state belongs to the leader; workers hold no client for it"),
    ("mp4-atom", &["reelmill-media"], "containers are parsed in one place"),
    ("process-wrap", &["reelmill-worker"], "ffmpeg is started in one place"),
    ("clap", &["reelmill"], "the command line is the binary's"),
];

/// Normal and build dependencies of each workspace crate (development ones tie tests, not the program).
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let text = |v: &Value| v.as_str().expect("a name").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let needed = package["dependencies"].as_array().expect("dependencies").iter();
            let normal = needed.filter(|d| d["kind"] != "dev").map(|d| text(&d["name"])).collect();
            (text(&package["name"]), normal)
        })
        .collect()
}

fn is_ours(name: &str) -> bool {
    name == "reelmill" || name.starts_with("reelmill-")
}

#[test]
fn our_crates_depend_on_each_other_only_as_drawn() {
    let allowed: BTreeMap<&str, &[&str]> = INSIDE.into_iter().collect();
    let found = dependencies();
    let drawn: BTreeSet<&str> = allowed.keys().copied().collect();
    assert_eq!(
        found.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        drawn,
        "the crates of the workspace"
    );
    for (name, needs) in &found {
        for needed in needs.iter().filter(|n| is_ours(n)) {
            assert!(allowed[name.as_str()].contains(&needed.as_str()), "{name} may not depend on {needed}");
        }
    }
}

#[test]
fn nothing_depends_on_the_tests() {
    for (name, needs) in dependencies() {
        assert!(!needs.contains("reelmill-tests"), "{name} depends on the tests");
    }
}

#[test]
fn pure_crates_bring_nothing_impure() {
    let found = dependencies();
    for (name, allowed) in PURE {
        for needed in found[name].iter().filter(|n| !is_ours(n)) {
            assert!(allowed.contains(&needed.as_str()), "{name} may not depend on {needed}");
        }
    }
}

#[test]
fn reserved_crates_are_used_where_they_belong() {
    for (name, needs) in dependencies() {
        for (reserved, owners, why) in RESERVED {
            let allowed = owners.contains(&name.as_str()) || !needs.contains(reserved);
            assert!(allowed, "{name} depends on {reserved}: {why}");
        }
    }
}

/// The walls stand on the manifests; this one looks at what a crate would pull in through others.
#[test]
fn no_state_store_client_reaches_the_worker() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "--edges", "normal", "-p", "reelmill-worker"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(tree.contains("reelmill-worker-core"), "the tree is the worker's:\n{tree}");
    for client in ["etcd-client ", "redb ", "reelmill-coordinator"] {
        assert!(!tree.lines().any(|l| l.starts_with(client)), "the worker reaches {client}");
    }
}
