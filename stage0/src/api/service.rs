//! The methods of the API.
//!
//! Responsible for: what a request asks for and in which thread it is answered. Must not know: sockets, files. Follows
//! rkt-reference.md 7.1.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::events::{History, listen};
use super::exit::Exiting;
use super::logs;
use super::reader::Reader;
use super::wire::public_api_server::PublicApi;
use super::wire::{
    GetInfoRequest, GetInfoResponse, GetLogsRequest, GetLogsResponse, Info, InspectImageRequest,
    InspectImageResponse, InspectPodRequest, InspectPodResponse, ListImagesRequest, ListImagesResponse,
    ListPodsRequest, ListPodsResponse, ListenEventsRequest, ListenEventsResponse,
};

/// Requests that read files at a time, each in a thread of its own. The disk is one; more would only take memory.
pub const MAX_READS: usize = 8;
/// How long a request waits for its turn to read.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers requests.
#[derive(Debug)]
pub struct Service {
    info: Info,
    reader: Arc<Reader>,
    reads: Arc<Semaphore>,
    history: Arc<History>,
    log_readers: Arc<Semaphore>,
    exiting: Exiting,
}

impl Service {
    /// `info` is what `GetInfo` says.
    pub fn new(info: Info, reader: Reader, history: Arc<History>, exiting: Exiting) -> Self {
        Service {
            info,
            reader: Arc::new(reader),
            reads: Arc::new(Semaphore::new(MAX_READS)),
            history,
            log_readers: Arc::new(Semaphore::new(logs::MAX_READERS)),
            exiting,
        }
    }

    /// Runs work that waits for files where it holds nobody up.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let turn = tokio::time::timeout(READ_PATIENCE, Arc::clone(&self.reads).acquire_owned()).await;
        let Ok(Ok(permit)) = turn else {
            return Err(Status::resource_exhausted("too many requests wait for files"));
        };
        let reader = Arc::clone(&self.reader);
        let result = tokio::task::spawn_blocking(move || {
            // The client may go away before the work is done; the next one has its turn when it is.
            let _permit = permit;
            work(&reader)
        });
        result.await.map_err(|_| Status::unavailable("the service is exiting"))?
    }
}

#[tonic::async_trait]
impl PublicApi for Service {
    type ListenEventsStream = Answers<ListenEventsResponse>;
    type GetLogsStream = Answers<GetLogsResponse>;

    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        Ok(Response::new(GetInfoResponse { info: Some(self.info.clone()) }))
    }

    async fn list_pods(
        &self,
        request: Request<ListPodsRequest>,
    ) -> Result<Response<ListPodsResponse>, Status> {
        let ListPodsRequest { filters, detail } = request.into_inner();
        let pods = self.read(move |reader| reader.list_pods(&filters, detail)).await?;
        Ok(Response::new(ListPodsResponse { pods }))
    }

    async fn inspect_pod(
        &self,
        request: Request<InspectPodRequest>,
    ) -> Result<Response<InspectPodResponse>, Status> {
        let id = request.into_inner().id;
        let pod = self.read(move |reader| reader.inspect_pod(&id)).await?;
        Ok(Response::new(InspectPodResponse { pod: Some(pod) }))
    }

    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let ListImagesRequest { filters, detail } = request.into_inner();
        let images = self.read(move |reader| reader.list_images(&filters, detail)).await?;
        Ok(Response::new(ListImagesResponse { images }))
    }

    async fn inspect_image(
        &self,
        request: Request<InspectImageRequest>,
    ) -> Result<Response<InspectImageResponse>, Status> {
        let id = request.into_inner().id;
        let image = self.read(move |reader| reader.inspect_image(&id)).await?;
        Ok(Response::new(InspectImageResponse { image: Some(image) }))
    }

    async fn listen_events(
        &self,
        request: Request<ListenEventsRequest>,
    ) -> Result<Response<Self::ListenEventsStream>, Status> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let events = listen(Arc::clone(&self.history), filter, self.exiting.clone().begun());
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_logs(
        &self,
        request: Request<GetLogsRequest>,
    ) -> Result<Response<Self::GetLogsStream>, Status> {
        let pods = self.reader.pods().clone();
        let lines = logs::read(pods, request.into_inner(), &self.log_readers, self.exiting.clone())?;
        Ok(Response::new(Box::pin(lines)))
    }
}
