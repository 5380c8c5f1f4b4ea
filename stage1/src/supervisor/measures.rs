//! The supervisor's part in what a pod counts.
//!
//! Responsible for: whose numbers they are, and the record of the pod's phases. Must not know: what is counted, how it is written
//! (`metrics`). Follows docs/metrics.md.

use super::Supervisor;
use crate::metrics::{PodMetrics, PodProcess};
use crate::process::Child;
use crate::status;

/// The processes that a pod has on the host as long as it runs.
pub fn processes(vmm: &Child, files: &Child) -> [PodProcess; 3] {
    [
        PodProcess { name: "supervisor", pid: std::process::id() },
        PodProcess { name: "vmm", pid: vmm.id() },
        PodProcess { name: "file_server", pid: files.id() },
    ]
}

impl Supervisor<'_> {
    /// Everything that the pod counts, as Prometheus' text.
    pub(super) fn metrics_text(&self) -> String {
        let cards = self.pod.guest.network.interfaces.len();
        self.pod.metrics.text(self.pod.uuid, cards, &self.processes, self.pod.groups.memory())
    }
}

/// Writes down how far the pod came.
pub fn record_phases(metrics: &PodMetrics) {
    // The pod does as well without, on a full disk for example, of which whoever writes more there hears.
    let _ = status::phases(&metrics.phases_json());
}
