//! An independent witness of the state: `etcdctl` watches the commits as etcd has them, whoever leads.

use crate::cluster::PATIENCE;
use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reelmill_tests::tool;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

const PREFIX: &str = "reelmill/commits/";

/// Watches until it is dropped; a watch that breaks off goes on where it was.
pub(crate) struct Witness {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// The revisions at which each key was written.
    seen: BTreeMap<String, BTreeSet<u64>>,
    /// The last revision that was seen.
    revision: u64,
    is_over: bool,
    child: Option<Child>,
}

impl Witness {
    /// Begins to watch.
    pub(crate) fn start(etcds: &[String]) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (watched, endpoints) = (Arc::clone(&shared), etcds.join(","));
        thread::spawn(move || {
            while !lock(&watched).is_over {
                if let Err(error) = watch(&watched, &endpoints) {
                    eprintln!("witness: {error:#}");
                }
                thread::park_timeout(std::time::Duration::from_millis(200));
            }
        });
        Self { shared }
    }

    /// A job of `items` work items has ended well: waits until it has seen as many commits, and each of them once.
    pub(crate) fn each_once(&self, job: &str, items: usize) -> Result<()> {
        let prefix = format!("{PREFIX}{job}/");
        let of_job = |shared: &Shared| shared.seen.keys().filter(|key| key.starts_with(&prefix)).count();
        tool::wait_until("the witness has seen the job's commits", PATIENCE, || {
            (of_job(&lock(&self.shared)) >= items).then_some(())
        })?;
        let shared = lock(&self.shared);
        ensure!(of_job(&shared) == items, "{job}: {} commits of {items} work items", of_job(&shared));
        for (key, revisions) in
            shared.seen.range(prefix.clone()..).take_while(|(k, _)| k.starts_with(&prefix))
        {
            ensure!(revisions.len() == 1, "{key} was committed at revisions {revisions:?}");
        }
        Ok(())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.is_over = true;
        if let Some(child) = &mut shared.child {
            // Nothing to do when it has ended already.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One watch, from what was seen last until it breaks off.
fn watch(shared: &Mutex<Shared>, endpoints: &str) -> Result<()> {
    let from = lock(shared).revision + 1;
    let mut child = Command::new("etcdctl")
        .args(["watch", PREFIX, "--prefix", "--write-out", "json", "--endpoints", endpoints])
        .args(["--rev", &from.to_string()])
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start etcdctl: install it with `apt-get install -y etcd-client`")?;
    let lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
    lock(shared).child = Some(child);
    for line in lines {
        let message: Value = serde_json::from_str(&line?)?;
        let mut shared = lock(shared);
        for event in message["Events"].as_array().into_iter().flatten() {
            let kv = &event["kv"];
            let number = |name: &str| kv[name].as_u64().with_context(|| format!("no {name} in {event}"));
            shared.revision = shared.revision.max(number("mod_revision")?);
            // a deletion has a type; a put, being the first of them, has none
            if event["type"].as_u64().unwrap_or(0) == 0 {
                let key = BASE64_STANDARD.decode(kv["key"].as_str().context("a key")?)?;
                shared.seen.entry(String::from_utf8(key)?).or_default().insert(number("mod_revision")?);
            }
        }
    }
    if let Some(mut child) = lock(shared).child.take() {
        child.wait()?;
    }
    Ok(())
}
