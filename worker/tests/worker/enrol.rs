//! How a worker joins and renews, against a coordinator that keeps one hash a name, as the real one does.

use reelmill_common::{Secret, Sha256, WorkerId, credential};
use reelmill_proto::worker::v1 as pb;
use reelmill_proto::worker::v1::workers_server::{Workers, WorkersServer};
use reelmill_worker::enrol::{EnrolError, Membership};
use reelmill_worker::security::{Security, TokenSource};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

const JOIN: &str = "token-to-join";
const DAY_MS: u64 = 86_400_000;

/// What the coordinator keeps, and how it behaves.
#[derive(Default)]
struct Kept {
    enrolled: Option<Sha256>,
    /// Answers that get lost after it was done.
    lose: u32,
    asked: u32,
    until: u64,
}

#[derive(Clone, Default)]
struct Service(Arc<Mutex<Kept>>);

#[tonic::async_trait]
impl Workers for Service {
    type SessionStream = ReceiverStream<Result<pb::ToWorker, Status>>;

    async fn session(
        &self,
        _: Request<Streaming<pb::FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("nobody works here"))
    }

    async fn enrol(&self, request: Request<pb::EnrolRequest>) -> Result<Response<pb::EnrolResponse>, Status> {
        let shown = request.metadata().get("authorization").unwrap().to_str().unwrap();
        let shown = Secret::new(shown.strip_prefix("Bearer ").unwrap().to_owned());
        let fresh = Sha256(request.get_ref().secret.as_slice().try_into().unwrap());
        let mut kept = self.0.lock().unwrap();
        kept.asked += 1;
        let is_its_own = Some(credential::hash(&shown)) == kept.enrolled;
        let may = match kept.enrolled {
            _ if is_its_own => true,
            None => shown.reveal() == JOIN,
            Some(known) => shown.reveal() == JOIN && known == fresh,
        };
        if !may {
            return Err(Status::unauthenticated("not known"));
        }
        kept.enrolled = Some(fresh);
        if kept.lose > 0 {
            kept.lose -= 1;
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(Response::new(pb::EnrolResponse { expires_unix_ms: kept.until }))
    }
}

struct Served {
    kept: Arc<Mutex<Kept>>,
    address: String,
    _server: AbortOnDropHandle<()>,
}

async fn serve(until: u64) -> Served {
    let service = Service(Arc::new(Mutex::new(Kept { until, ..Kept::default() })));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let kept = Arc::clone(&service.0);
    let server = Server::builder().add_service(WorkersServer::new(service));
    let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(async move { serving.await.unwrap() });
    Served { kept, address, _server: AbortOnDropHandle::new(serving) }
}

fn membership(served: &Served, directory: &Path, token: Option<&str>) -> Membership {
    let token = token.map(|t| TokenSource::Given(Secret::new(t.to_owned())));
    let security = Security { token, ..Security::default() };
    Membership::new(WorkerId::parse("gpu-1").unwrap(), vec![served.address.clone()], security, directory)
}

/// What lies in the file that sessions read.
fn held(directory: &Path) -> Secret {
    let text = std::fs::read_to_string(directory.join("gpu-1.credential")).unwrap();
    Secret::new(text.lines().next().unwrap().to_owned())
}

#[tokio::test]
async fn it_joins_once_keeps_the_credential_for_itself_and_needs_no_token_after_that() {
    let (served, dir) = (serve(u64::MAX).await, tempfile::tempdir().unwrap());
    let state = dir.path().join("state");
    let security = membership(&served, &state, Some(JOIN)).join().await.unwrap();
    assert!(matches!(security.token, Some(TokenSource::File(_))));
    assert_eq!(served.kept.lock().unwrap().enrolled, Some(credential::hash(&held(&state))));
    let file = state.join("gpu-1.credential");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!state.join("gpu-1.new").exists());
    let before = held(&state);
    membership(&served, &state, None).join().await.unwrap();
    assert_eq!((held(&state), served.kept.lock().unwrap().asked), (before, 1));
}

#[tokio::test]
async fn it_says_what_is_missing_and_shows_no_secret() {
    let (served, dir) = (serve(u64::MAX).await, tempfile::tempdir().unwrap());
    let error = membership(&served, dir.path(), None).join().await.unwrap_err();
    assert!(matches!(error, EnrolError::NoToken(_)) && error.to_string().contains("--role enrol"), "{error}");
    let error = membership(&served, dir.path(), Some("wr0ng")).join().await.unwrap_err();
    assert!(matches!(error, EnrolError::Refused { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("wr0ng"));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again_even_without_the_token() {
    let (served, dir) = (serve(u64::MAX).await, tempfile::tempdir().unwrap());
    served.kept.lock().unwrap().lose = 1;
    membership(&served, dir.path(), Some(JOIN)).join().await.unwrap();
    assert_eq!(served.kept.lock().unwrap().enrolled, Some(credential::hash(&held(dir.path()))));

    // killed after the coordinator had it, before it was noted; the token to join is gone by now
    std::fs::rename(dir.path().join("gpu-1.credential"), dir.path().join("gpu-1.new")).unwrap();
    membership(&served, dir.path(), None).join().await.unwrap();
    assert_eq!(served.kept.lock().unwrap().enrolled, Some(credential::hash(&held(dir.path()))));
}

#[tokio::test]
async fn it_renews_in_time_and_goes_on_where_it_was_interrupted() {
    let now = 1_000 * DAY_MS;
    let (served, dir) = (serve(now + 30 * DAY_MS).await, tempfile::tempdir().unwrap());
    let member = membership(&served, dir.path(), Some(JOIN));
    member.join().await.unwrap();
    let first = held(dir.path());
    assert!(!member.renew(now).await.unwrap(), "it is good for a month");
    assert!(member.renew(now + 21 * DAY_MS).await.unwrap());
    let second = held(dir.path());
    assert!(first != second);
    assert_eq!(served.kept.lock().unwrap().enrolled, Some(credential::hash(&second)));

    // killed in the middle of renewing, once before and once after the coordinator had the new one
    for is_done in [false, true] {
        let old = held(dir.path());
        let fresh = credential::make(&WorkerId::parse("gpu-1").unwrap(), [u8::from(is_done); 32]);
        std::fs::write(dir.path().join("gpu-1.new"), format!("{}\n", fresh.reveal())).unwrap();
        if is_done {
            served.kept.lock().unwrap().enrolled = Some(credential::hash(&fresh));
        }
        assert!(member.renew(now + 21 * DAY_MS).await.unwrap());
        assert!(held(dir.path()) == fresh && old != fresh, "what was begun is finished");
        assert_eq!(served.kept.lock().unwrap().enrolled, Some(credential::hash(&fresh)));
    }
}
