//! Taking a pod's networks down.
//!
//! Responsible for: everything that is outside the pod's directory, from what is in it alone, as often as it is called and whatever
//! was done before. Must not know: how far setting up got. Follows rkt-reference 4.5.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::{NetworkError, firewall, namespace};
use crate::fault;

/// Has the plugins undo what they did, and removes the name space with all that is still in it. What fails does not keep the rest
/// from being removed. Somebody who does not want to wait for plugins says so by `interrupt`.
pub fn tear_down(
    uuid: Uuid,
    local_config: Option<&Path>,
    interrupt: Option<Arc<File>>,
) -> Result<(), NetworkError> {
    // Without it, after a reboot, plugins still give back what they hold on the host.
    let netns = namespace::existing(uuid);
    let deleted = super::client(local_config, interrupt).delete_all(&super::cache(), netns.as_deref());
    fault::point("network.deleted");
    namespace::remove(uuid)?;
    fault::point("network.namespace.removed");
    // Last: as long as the pod has interfaces, it is kept where it belongs.
    firewall::remove(uuid)?;
    Ok(deleted?)
}
