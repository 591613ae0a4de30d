//! Every domain value survives the wire and the store unchanged, specs keep their ids, and wrong messages are
//! refused by field.

#![allow(missing_docs, reason = "tests")]

mod messages;
mod reports;
mod values;

use proptest::prelude::*;
use prost::Message as _;
use reelmill_common::job::{JobRequest, JobView};
use reelmill_common::plan::Sizing;
use reelmill_common::record::{ArchiveRecord, StateKey};
use reelmill_common::session::{FromWorker, SignedGrant, Termed, ToWorker};
use reelmill_common::spec::WorkItem;
use reelmill_common::{AttemptId, FencingTerm, JobId, Secret, TenantId, TickSeq};
use reelmill_proto::stored::{self, Record};
use reelmill_proto::{Problem, common, job_request, jobs, worker};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn work_items_and_their_spec_ids_survive(item in values::work_item()) {
        let bytes = common::v1::WorkItem::from(&item).encode_to_vec();
        let wire = common::v1::WorkItem::decode(bytes.as_slice()).expect("decodes");
        let back = WorkItem::try_from(wire).expect("converts");
        prop_assert_eq!(back.spec_id(), item.spec_id());
        prop_assert_eq!(back, item);
    }

    #[test]
    fn tick_lists_keep_their_form(seq in values::tick_seq()) {
        let back = TickSeq::try_from(common::v1::TickSeq::from(&seq)).expect("converts");
        prop_assert_eq!(back, seq);
    }

    #[test]
    fn indexes_survive(index in values::source_index()) {
        let back = stored::decode_index(&stored::encode_index(&index)).expect("decodes");
        prop_assert_eq!(back, index);
    }

    #[test]
    fn plans_survive(plan in values::plan()) {
        let back = stored::decode_plan(&stored::encode_plan(&plan)).expect("decodes");
        prop_assert_eq!(back, plan);
    }

    #[test]
    fn reports_survive(chunk in reports::chunk_report(), analysis in reports::analysis()) {
        prop_assert_eq!(stored::decode_chunk_report(&stored::encode_chunk_report(&chunk)), Ok(chunk));
        prop_assert_eq!(stored::decode_analysis(&stored::encode_analysis(&analysis)), Ok(analysis));
    }

    #[test]
    fn session_messages_survive(up in messages::from_worker(), down in messages::to_worker()) {
        let wire = worker::v1::FromWorker::from(&up).encode_to_vec();
        let wire = worker::v1::FromWorker::decode(wire.as_slice()).expect("decodes");
        prop_assert_eq!(FromWorker::try_from(wire), Ok(up));
        let wire = worker::v1::ToWorker::from(&down).encode_to_vec();
        let wire = worker::v1::ToWorker::decode(wire.as_slice()).expect("decodes");
        prop_assert_eq!(Termed::<ToWorker>::try_from(wire), Ok(down));
    }

    #[test]
    fn requests_and_views_survive(request in messages::job_request(), view in messages::job_view()) {
        let wire = jobs::v1::JobRequest::from(&request);
        prop_assert_eq!(job_request(request.tenant.clone(), wire), Ok(request));
        prop_assert_eq!(JobView::try_from(jobs::v1::Job::from(&view)), Ok(view));
    }

    #[test]
    fn records_survive_under_their_own_key_only(record in messages::record(), other in values::job_id()) {
        let bytes = stored::encode_record(&record);
        prop_assert_eq!(stored::decode_record(&record.key(), &bytes), Ok(record.clone()));
        if let Record::Commit(commit) = &record {
            let folded = vec![commit.clone(), commit.clone()];
            prop_assert_eq!(stored::decode_commits(&stored::encode_commits(&folded)), Ok(folded));
        }
        if let Record::Job(job) = &record {
            // as it was written before chunks were bounded, and with the bound's field behind it
            let mut old = job.as_ref().clone();
            old.chunk_cost_max_ms = None;
            let mut bytes = stored::encode_record(&Record::Job(Box::new(old.clone())));
            prop_assert_eq!(old.sizing(), Sizing::alone(job.slots_hint));
            prop_assert_eq!(stored::decode_record(&record.key(), &bytes), Ok(Record::Job(Box::new(old.clone()))));
            bytes.extend([0xC0, 0x01, 0xA0, 0x9C, 0x01]);
            old.chunk_cost_max_ms = Some(20_000);
            prop_assert_eq!(stored::decode_record(&record.key(), &bytes), Ok(Record::Job(Box::new(old))));
            let archive = ArchiveRecord { job: (**job).clone(), archived_unix_ms: job.submitted_unix_ms };
            prop_assert_eq!(stored::decode_archive(&stored::encode_archive(&archive)), Ok(archive));
        }
        let wrong = StateKey::Job(other);
        prop_assume!(wrong != record.key());
        prop_assert!(stored::decode_record(&wrong, &bytes).is_err());
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_but_never_panic(bytes in any::<Vec<u8>>()) {
        let key = StateKey::Job(JobId::parse("j").expect("a name"));
        let _ = (stored::decode_index(&bytes), stored::decode_plan(&bytes), stored::decode_record(&key, &bytes));
        let _ = (stored::decode_chunk_report(&bytes), stored::decode_analysis(&bytes));
        if let Ok(wire) = worker::v1::FromWorker::decode(bytes.as_slice()) {
            let _ = FromWorker::try_from(wire);
        }
    }

    #[test]
    fn the_request_hash_leaves_out_the_key_and_nothing_else(request in messages::job_request()) {
        let hash = stored::request_hash(&request);
        let keyless = JobRequest { idempotency_key: None, ..request.clone() };
        prop_assert_eq!(stored::request_hash(&keyless), hash);
        let other = JobRequest { source: format!("{}x", request.source), ..request };
        prop_assert_ne!(stored::request_hash(&other), hash);
    }
}

fn refused(seq: common::v1::TickSeq) -> reelmill_proto::WireError {
    TickSeq::try_from(seq).expect_err("refused")
}

#[test]
fn tick_lists_that_break_their_promise_are_refused() {
    use common::v1::TickSeq as Wire;
    use common::v1::tick_seq::{Form, Listed, Regular};
    let regular = |first, step, count| Wire { form: Some(Form::Regular(Regular { first, step, count })) };
    let listed = |deltas| Wire { form: Some(Form::Listed(Listed { deltas })) };
    assert!(matches!(refused(regular(0, 0, 5)).problem, Problem::Invalid(_)), "no step");
    assert!(matches!(refused(regular(i64::MAX - 1, 1, 5)).problem, Problem::Invalid(_)), "overflow");
    assert!(matches!(refused(regular(0, 1, u32::MAX)).problem, Problem::TooMany { .. }), "too many");
    assert!(matches!(refused(listed(vec![5, 0])).problem, Problem::Invalid(_)), "not increasing");
    assert!(matches!(refused(Wire { form: None }).problem, Problem::Missing), "no form");
}

#[test]
fn an_error_names_the_path_of_the_field() {
    let request = jobs::v1::JobRequest {
        source: "film.mp4".to_owned(),
        options: Some(jobs::v1::JobOptions { preset: "warp".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let error = job_request(TenantId::local(), request).expect_err("refused");
    assert_eq!(error.field, "options.preset");
    assert!(error.to_string().contains("use speed, balanced, quality"), "{error}");
}

#[test]
fn a_bare_request_means_the_defaults_and_one_without_source_is_refused() {
    let request = jobs::v1::JobRequest { source: "film.mp4".to_owned(), ..Default::default() };
    let request = job_request(TenantId::local(), request).expect("converts");
    assert_eq!(request.options, reelmill_common::job::JobOptions::default());
    assert_eq!(request.ladder, reelmill_common::ladder::LadderChoice::Default);
    let error = job_request(TenantId::local(), jobs::v1::JobRequest::default()).expect_err("refused");
    assert_eq!(error.field, "source");
}

#[test]
fn labels_keep_the_grammar_of_names() {
    let labels = [("team".to_owned(), "Not A Name".to_owned())].into();
    let request = jobs::v1::JobRequest { source: "film.mp4".to_owned(), labels, ..Default::default() };
    let error = job_request(TenantId::local(), request).expect_err("refused");
    assert_eq!(error.field, "labels");
}

#[test]
fn another_version_is_refused_by_name() {
    // field 1 of every stored object is its version
    let newer = [0x08, 99];
    for error in [
        stored::decode_index(&newer).expect_err("index"),
        stored::decode_plan(&newer).expect_err("plan"),
        stored::decode_chunk_report(&newer).expect_err("report"),
        stored::decode_analysis(&newer).expect_err("analysis"),
    ] {
        assert_eq!(error.problem, Problem::Version { got: 99, known: 1 });
    }
    let key = StateKey::Job(JobId::parse("j").expect("a name"));
    let error = stored::decode_record(&key, &newer).expect_err("record");
    assert_eq!(
        (error.field.as_str(), error.problem),
        ("record_version", Problem::Version { got: 99, known: 1 })
    );
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let bytes = vec![0; reelmill_proto::MAX_MESSAGE_BYTES + 1];
    assert!(matches!(stored::decode_plan(&bytes).expect_err("refused").problem, Problem::TooMany { .. }));
}

#[test]
fn a_record_under_the_wrong_key_is_refused() {
    let leader = reelmill_common::record::LeaderRecord {
        term: reelmill_common::FencingTerm(3),
        address: "http://127.0.0.1:7070".to_owned(),
    };
    let bytes = stored::encode_record(&Record::Leader(leader));
    assert!(stored::decode_record(&StateKey::Term, &bytes).is_err());
    assert!(stored::decode_record(&StateKey::Leader, &bytes).is_ok());
}

#[test]
fn a_signature_does_not_print_on_its_way() {
    let url = Secret::new("https://films.example/a?X-Amz-Signature=hush".to_owned());
    let source = SignedGrant { url, headers: vec![], valid_ms: 1 };
    let wire = worker::v1::ToWorker::from(&Termed {
        term: FencingTerm(1),
        message: ToWorker::Renewed {
            sources: vec![(AttemptId { term: FencingTerm(1), sequence: 2 }, source)],
        },
    });
    let printed = format!("{wire:?}");
    assert!(printed.contains("SignedRequest(secret)") && !printed.contains("hush"), "{printed}");
}
