//! What the API's unary methods read from disk.
//!
//! Responsible for: walking pods and images for one request, within bounds. Must not know: connections, threads. Follows
//! rkt-reference.md 7.1.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use prost::Message;
use tonic::Status;

use super::filter;
use super::images::ImageReader;
use super::pods::{self, Description};
use super::status;
use super::wire::{Image, ImageFilter, Pod, PodFilter};
use crate::error::Stage0Error;
use crate::log::Log;
use crate::pod::locate::Pods;
use crate::store::{Key, StoreError};

/// Bytes of one answer. A pod with its manifest takes a few kilobytes; a thousand of the largest possible manifests would take
/// a gigabyte of memory, and no client wants it.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;
/// Unreadable pods and images that are remembered, so that each is complained of once and not at every request.
const MAX_COMPLAINTS: usize = 1024;

/// Reads pods and images below one data directory.
#[derive(Debug)]
pub struct Reader {
    data: PathBuf,
    pods: Pods,
    log: Log,
    complaints: Mutex<HashSet<String>>,
}

impl Reader {
    /// Does not touch the disk yet.
    pub fn new(data: PathBuf, log: Log) -> Self {
        let pods = Pods::of(&data);
        Reader { data, pods, log, complaints: Mutex::default() }
    }

    /// The pods.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// The pods that one of the filters wants, by UUID. Of one that cannot be read whole, what can be read is shown.
    pub fn list_pods(&self, filters: &[PodFilter], detail: bool) -> Result<Vec<Pod>, Status> {
        let images = detail.then(|| self.images()?.by_id()).transpose().map_err(|e| status::of_store(&e))?;
        let mut answer = Answer::default();
        for (uuid, stage) in self.pods.list_nameable().map_err(|error| status::of(&error))? {
            if !filter::may_want_pod(filters, &uuid.to_string()) {
                continue;
            }
            let pod = match pods::look(&self.pods, uuid, stage, images.as_ref()) {
                Ok(None) => continue,
                Ok(Some(Description { pod, trouble })) => {
                    trouble.iter().for_each(|error| self.complain(error));
                    pod
                }
                Err(error) => {
                    self.complain(&error);
                    pods::unreadable(uuid)
                }
            };
            if filter::wants_pod(filters, &pod) {
                answer.add(pod)?;
            }
        }
        Ok(answer.messages)
    }

    /// One pod in detail.
    pub fn inspect_pod(&self, prefix: &str) -> Result<Pod, Status> {
        let (uuid, stage) = pods::resolve(&self.pods, prefix)?;
        let images = self.images().and_then(|images| images.by_id()).map_err(|e| status::of_store(&e))?;
        let found = pods::look(&self.pods, uuid, stage, Some(&images)).map_err(|e| status::of(&e))?;
        let Description { pod, trouble } =
            found.ok_or_else(|| Status::not_found(format!("no matches found for {prefix:?}")))?;
        match trouble.first() {
            None => Ok(pod),
            Some(error) => Err(status::of(error)),
        }
    }

    /// The images that one of the filters wants, by ID. One that cannot be read is left out.
    pub fn list_images(&self, filters: &[ImageFilter], detail: bool) -> Result<Vec<Image>, Status> {
        let reader = self.images().map_err(|error| status::of_store(&error))?;
        let mut answer = Answer::default();
        for row in reader.rows().map_err(|error| status::of_store(&error))? {
            if !filter::may_want_image(filters, row.key.as_str()) {
                continue;
            }
            match reader.describe(&row, detail) {
                Ok(image) if filter::wants_image(filters, &image) => answer.add(image)?,
                // Not wanted, or removed between the look at the rows and the look at the manifest.
                Ok(_) | Err(StoreError::NoImage(_)) => {}
                Err(cause) => self.complain(&Stage0Error::Failed {
                    what: format!("cannot read image {}", row.key),
                    cause: cause.into(),
                }),
            }
        }
        Ok(answer.messages)
    }

    /// One image in detail.
    pub fn inspect_image(&self, id: &str) -> Result<Image, Status> {
        let key: Key = id.parse().map_err(|error| status::of_store(&error))?;
        self.images().and_then(|images| images.image(&key)).map_err(|error| status::of_store(&error))
    }

    fn images(&self) -> Result<ImageReader, StoreError> {
        ImageReader::open(&self.data)
    }

    /// Says on stderr what the answer cannot.
    fn complain(&self, error: &Stage0Error) {
        let text = crate::log::render(error, self.log.is_debug());
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() >= MAX_COMPLAINTS {
            complaints.clear();
        }
        if complaints.insert(text.clone()) {
            self.log.print(text);
        }
    }
}

/// An answer that grows no further than it may.
struct Answer<T> {
    messages: Vec<T>,
    bytes: usize,
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Answer { messages: Vec::new(), bytes: 0 }
    }
}

impl<T: Message> Answer<T> {
    fn add(&mut self, message: T) -> Result<(), Status> {
        self.bytes = self.bytes.saturating_add(message.encoded_len());
        if self.bytes > MAX_RESPONSE_BYTES {
            let text =
                format!("the answer would have more than {MAX_RESPONSE_BYTES} bytes; ask with filters");
            return Err(Status::resource_exhausted(text));
        }
        self.messages.push(message);
        Ok(())
    }
}
