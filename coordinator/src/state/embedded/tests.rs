//! The embedded store against the suite, its lock, and `kill -9` in the middle of writing.

use super::super::conformance::{self, Contender, Factory, TestState};
use super::*;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command as Process, Stdio};
use tempfile::TempDir;

struct Embedded;

struct OnDisk {
    directory: TempDir,
    state: EmbeddedState,
}

impl OnDisk {
    fn open(directory: TempDir) -> Result<Box<dyn TestState>, StateError> {
        let state = EmbeddedState::open(directory.path())?;
        Ok(Box::new(Self { directory, state }))
    }
}

impl Factory for Embedded {
    fn state(&self) -> BoxFuture<'_, Result<Box<dyn TestState>, StateError>> {
        std::future::ready(OnDisk::open(tempfile::tempdir().unwrap())).boxed()
    }
}

impl TestState for OnDisk {
    fn contender(&self) -> BoxFuture<'_, Result<Box<dyn Contender>, StateError>> {
        std::future::ready(Ok(Box::new(self.state.contender()) as Box<dyn Contender>)).boxed()
    }

    fn depose(&self) -> BoxFuture<'_, Result<(), StateError>> {
        self.state.depose("deposed by the test");
        std::future::ready(Ok(())).boxed()
    }

    fn restart(self: Box<Self>) -> BoxFuture<'static, Result<Option<Box<dyn TestState>>, StateError>> {
        let Self { directory, state } = *self;
        drop(state);
        std::future::ready(OnDisk::open(directory).map(Some)).boxed()
    }
}

#[tokio::test]
async fn embedded_conforms() {
    conformance::run(&Embedded).await.unwrap();
}

#[test]
fn a_second_open_fails_at_once_and_names_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let first = EmbeddedState::open(directory.path()).unwrap();
    let error = EmbeddedState::open(directory.path()).err().unwrap();
    assert_eq!(error.kind(), StateErrorKind::Locked);
    let holder = format!("in use by process {}", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
    drop(first);
    EmbeddedState::open(directory.path()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(EmbeddedState::open(&file).err().unwrap().kind(), StateErrorKind::Invalid);
    assert_eq!(EmbeddedState::open(&file.join("below")).err().unwrap().kind(), StateErrorKind::Invalid);
    let damaged = directory.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::write(damaged.join(DATABASE_FILE), vec![7; 8_192]).unwrap();
    let error = EmbeddedState::open(&damaged).err().unwrap();
    assert!(error.to_string().contains("state.redb"), "{error}");
}

#[tokio::test]
async fn a_failed_database_ends_the_term_and_the_next_campaign_opens_it_anew() {
    let directory = tempfile::tempdir().unwrap();
    let state = EmbeddedState::open(directory.path()).unwrap();
    let term = state.campaign("a:1").await.unwrap();
    assert!(state.write(&Batch::leading(term).put("a", "1")).await.is_done());
    // what the writer does when the disk fails
    state.inner.shared.forget_database();
    state.inner.shared.end(term, "the disk failed");
    assert_eq!(state.lost(term).await, "the disk failed");
    assert!(matches!(state.write(&Batch::leading(term).put("a", "2")).await, WriteResult::GuardFailed));
    let next = state.campaign("a:1").await.unwrap();
    assert!(next > term);
    assert_eq!(state.scan("", None, 5).await.unwrap().entries, [("a".to_owned(), b"1".to_vec())]);
}

/// Tells the child process which directory to write in.
const WRITER_DIRECTORY: &str = "REELMILL_TEST_STATE_WRITER";
/// The keys every batch of the child sets to its number.
const TOGETHER: [&str; 5] = ["k/0", "k/1", "k/2", "k/3", "k/4"];

/// The same test plays both parts: as the child it writes until it is killed; as the parent it starts the child, kills it
/// in the middle and looks at what is left.
#[tokio::test]
async fn killed_in_the_middle_of_writing_no_acknowledged_batch_is_lost_and_none_is_half_there() {
    if let Some(directory) = std::env::var_os(WRITER_DIRECTORY) {
        return write_until_killed(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut written, mut last_term) = (0, FencingTerm(0));
    for round in 0..6 {
        let mut child = start_writer(directory.path());
        // a different place each time; the child is killed while the batch after the last answer is under way
        let acknowledged = wait_for_answers(&mut child, 3 + round * 7);
        child.kill().unwrap();
        child.wait().unwrap();
        let state = EmbeddedState::open(directory.path()).unwrap();
        let term = state.campaign("parent").await.unwrap();
        assert!(term.0 >= last_term.0 + 2, "the child's term and ours both count");
        last_term = term;
        let found = what_was_written(&state).await;
        assert!(
            found >= acknowledged,
            "batch {acknowledged} was acknowledged, the last one there is {found}"
        );
        assert!(found >= written, "an earlier round's batches are gone");
        written = found;
    }
    assert!(written > 30, "the child hardly wrote: {written}");
}

async fn write_until_killed(directory: &Path) {
    let state = EmbeddedState::open(directory).unwrap();
    let term = state.campaign("child").await.unwrap();
    for number in what_was_written(&state).await + 1.. {
        let batch =
            TOGETHER.iter().fold(Batch::leading(term), |batch, key| batch.put(*key, number.to_be_bytes()));
        let batch = batch.put(format!("log/{number:08}"), vec![1; 2_000]);
        assert!(state.write(&batch).await.is_done());
        println!("\nanswered {number}");
    }
}

fn start_writer(directory: &Path) -> Child {
    let this_test = "killed_in_the_middle_of_writing_no_acknowledged_batch_is_lost_and_none_is_half_there";
    let module = module_path!().split_once("::").unwrap().1;
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{this_test}"), "--nocapture"])
        .env(WRITER_DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The number of the `count`th answer of the child.
fn wait_for_answers(child: &mut Child, count: usize) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let answers = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("answered ")?.parse().ok());
    answers.take(count).last().expect("the child ended without an answer")
}

/// The number of the last batch, after checking that every one up to it is whole.
async fn what_was_written(state: &EmbeddedState) -> u64 {
    let together = state.scan("k/", None, 10).await.unwrap().entries;
    let mut logged = 0;
    let mut after = None;
    loop {
        let page = state.scan("log/", after, MAX_PAGE_ENTRIES).await.unwrap();
        for (key, _) in &page.entries {
            logged += 1;
            assert_eq!(*key, format!("log/{logged:08}"), "a batch is missing");
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(together.len(), if logged == 0 { 0 } else { TOGETHER.len() });
    for (key, value) in together {
        assert_eq!(value, u64::to_be_bytes(logged), "{key} is of another batch than the log");
    }
    logged
}
