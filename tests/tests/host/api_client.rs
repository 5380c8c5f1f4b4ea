//! An API service of a test's own, and a client generated from the service's definition.

use std::future::Future;

use nix::sys::signal::Signal;
use rkt_tests::command::{Finished, Running, Stream, limit};
use rkt_tests::rkt::TestRkt;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use self::wire::public_api_client::PublicApiClient;

/// The messages.
#[allow(clippy::all, unused_qualifications)]
pub mod wire {
    tonic::include_proto!("v1alpha");
}

/// Bytes of an answer that the tests take.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A service that runs.
pub struct Api {
    service: Running,
    address: String,
    runtime: Runtime,
}

impl Api {
    /// Starts a service on a unix socket.
    pub fn start(rkt: &TestRkt) -> Self {
        let address = format!("unix://{}", rkt.path("api.sock").display());
        let listen = format!("--listen={address}");
        Self::over(rkt.start(["api-service", &listen]), &address)
    }

    /// A service that was started and will listen at `address`.
    pub fn over(mut service: Running, address: &str) -> Self {
        service.wait_for(Stream::Err, "api-service: API service running\n", limit(30));
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { service, address: address.to_owned(), runtime }
    }

    /// The same service at another address of its.
    pub fn at(self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self }
    }

    /// The service's process.
    pub fn service(&mut self) -> &mut Running {
        &mut self.service
    }

    /// A connection of its own.
    pub fn client(&self) -> PublicApiClient<Channel> {
        self.wait(connect(self.address.clone()))
    }

    /// Runs a client to its end.
    pub fn wait<T>(&self, client: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(limit(60), client).await };
        self.runtime.block_on(limited).expect("the service answers in time")
    }

    /// Makes one request.
    pub fn ask<T>(
        &self,
        request: impl AsyncFnOnce(PublicApiClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        let client = self.client();
        self.wait(request(client)).map(Response::into_inner)
    }

    /// Pods that one of the filters wants.
    pub fn pods(&self, filters: &[wire::PodFilter], detail: bool) -> Vec<wire::Pod> {
        let request = wire::ListPodsRequest { filters: filters.to_vec(), detail };
        self.ask(async |mut client| client.list_pods(request).await).expect("a list").pods
    }

    /// The IDs of these pods.
    pub fn pod_ids(&self, filter: wire::PodFilter) -> Vec<String> {
        self.pods(&[filter], false).into_iter().map(|pod| pod.id).collect()
    }

    /// One pod.
    pub fn pod(&self, id: &str) -> Result<wire::Pod, Status> {
        let request = wire::InspectPodRequest { id: id.to_owned() };
        let answer = self.ask(async |mut client| client.inspect_pod(request).await);
        answer.map(|answer| answer.pod.expect("an answer has a pod"))
    }

    /// Images that one of the filters wants.
    pub fn images(&self, filters: &[wire::ImageFilter], detail: bool) -> Vec<wire::Image> {
        let request = wire::ListImagesRequest { filters: filters.to_vec(), detail };
        self.ask(async |mut client| client.list_images(request).await).expect("a list").images
    }

    /// One image.
    pub fn image(&self, id: &str) -> Result<wire::Image, Status> {
        let request = wire::InspectImageRequest { id: id.to_owned() };
        let answer = self.ask(async |mut client| client.inspect_image(request).await);
        answer.map(|answer| answer.image.expect("an answer has an image"))
    }

    /// Ends the service as systemd does.
    pub fn stop(self) -> Finished {
        self.service.send(Signal::SIGTERM);
        self.finish()
    }

    /// Waits for the service's end.
    pub fn finish(self) -> Finished {
        self.service.finish(limit(60))
    }
}

/// A connection to a service.
pub async fn connect(address: String) -> PublicApiClient<Channel> {
    let channel = Endpoint::from_shared(address).expect("an address").connect().await;
    PublicApiClient::new(channel.expect("a connection")).max_decoding_message_size(MAX_ANSWER_BYTES)
}

/// A name and a value.
pub fn pair(key: &str, value: &str) -> wire::KeyValue {
    wire::KeyValue { key: key.to_owned(), value: value.to_owned() }
}
