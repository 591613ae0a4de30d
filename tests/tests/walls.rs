//! The walls between the crates, read from `cargo metadata`: who may depend on whom, inside and outside. A new edge
//! is a decision; it is made here and said in the commit.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The whole graph of our own crates: an edge that is not here is forbidden, an edge that is here is in use or allowed.
const INSIDE: [(&str, &[&str]); 12] = [
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
    (
        "reelmill-bench-control",
        &["reelmill-common", "reelmill-proto", "reelmill-blob", "reelmill-worker-core"],
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
const RESERVED: [(&str, &[&str], &str); 10] = [
    ("prost", &["reelmill-proto"], "wire and stored formats stop at proto"),
    ("prost-types", &["reelmill-proto"], "wire and stored formats stop at proto"),
    ("tonic-prost", &["reelmill-proto"], "wire and stored formats stop at proto"),
    ("redb", &["reelmill-coordinator"], "state belongs to the leader; workers hold no client for it"),
    ("etcd-client", &["reelmill-coordinator"], "state belongs to the leader; workers hold no client for it"),
    ("mp4-atom", &["reelmill-media"], "containers are parsed in one place"),
    ("process-wrap", &["reelmill-worker"], "ffmpeg is started in one place"),
    ("landlock", &["reelmill-worker"], "the box around ffmpeg is made in one place"),
    ("seccompiler", &["reelmill-worker"], "the box around ffmpeg is made in one place"),
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
fn nothing_depends_on_tests_and_measurements() {
    for (name, needs) in dependencies() {
        assert!(!needs.contains("reelmill-tests"), "{name} depends on the tests");
        assert!(!needs.contains("reelmill-bench-control"), "{name} depends on a measurement");
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

/// Where time is counted, and where everything that decides about it lives.
const INTEGER_ONLY: [&str; 5] =
    ["common/src", "common/media/src", "coordinator/plan/src", "coordinator/core/src", "worker/core/src"];

/// Rust source without comments, strings and characters: each becomes one space.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let find = |from: usize, what: &str| {
        (from..chars.len()).find(|at| starts(*at, what)).map_or(chars.len(), |at| at + what.chars().count())
    };
    let (mut out, mut at) = (String::new(), 0);
    while at < chars.len() {
        let in_word = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
        let end = if starts(at, "//") {
            find(at, "\n")
        } else if starts(at, "/*") {
            find(at, "*/")
        } else if chars[at] == 'r' && !in_word && chars.get(at + 1 + hashes) == Some(&'"') {
            find(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes)))
        } else if chars[at] == '"' {
            let mut end = at + 1;
            while end < chars.len() && chars[end] != '"' {
                end += if chars[end] == '\\' { 2 } else { 1 };
            }
            end + 1
        } else if starts(at, "'\\") {
            find(at + 3, "'")
        } else if chars[at] == '\'' && chars.get(at + 2) == Some(&'\'') {
            at + 3
        } else {
            out.push(chars[at]);
            at += 1;
            continue;
        };
        out.push(' ');
        at = end;
    }
    out
}

/// The floats in a piece of code: their types, functions named by them, and literals.
fn floats(code: &str) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found: Vec<String> = code
        .split(|c| !is_word(c))
        .filter(|word| {
            let named = word.ends_with("f32") || word.ends_with("f64");
            let digits = word.starts_with(|c: char| c.is_ascii_digit()) && !word.starts_with("0x");
            named || (digits && word.contains('e') && !word.ends_with("size"))
        })
        .map(str::to_owned)
        .collect();
    let bytes = code.as_bytes();
    for at in (1..bytes.len()).filter(|at| bytes[*at] == b'.' && bytes[at - 1].is_ascii_digit()) {
        let number = code[..at].rfind(|c: char| !is_word(c)).map_or(0, |i| i + 1);
        // x.0.1 is a field of a field, 1..2 a range, 1.max(2) a method
        let is_field = number > 0 && bytes[number - 1] == b'.';
        let is_number = bytes[number].is_ascii_digit() && !is_field;
        let next = bytes.get(at + 1).copied().unwrap_or(b' ');
        if is_number && next != b'.' && !next.is_ascii_alphabetic() && next != b'_' {
            found.push(code[number..].chars().take(8).collect());
        }
    }
    found
}

fn sources(directory: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        // a test may hold integers against a direct computation in floats: in a file of its own
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_float_counts_time() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut files = Vec::new();
    INTEGER_ONLY.iter().for_each(|directory| sources(&root.join(directory), &mut files));
    assert!(files.len() > 80, "only {} files were looked at", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source is read");
        let found = floats(&code(&text));
        assert!(found.is_empty(), "{}: floats {found:?}: count in integers", file.display());
    }
}

#[test]
fn the_search_for_floats_finds_them_and_nothing_else() {
    for float in ["let x: f64 = y;", "d.as_secs_f32()", "a * 0.5", "1e9", "2.", "7f64", "let s = 'x'; 1.5"] {
        assert_ne!(floats(&code(float)), Vec::<String>::new(), "{float}");
    }
    for whole in [
        "x.0.1 + 1",
        "0..2",
        "1.max(2)",
        "0xfe",
        "\"0.5 f64\"",
        "// f32 1.5",
        "/* 2.5 */ 3",
        "r#\"1.5 \"f64\"\"#",
        "'\\'' 'f'",
        "fn a<'a>(x: &'a str) -> &'a str",
        "1_000usize",
        "t.0.2.0",
    ] {
        assert_eq!(floats(&code(whole)), Vec::<String>::new(), "{whole}");
    }
}
