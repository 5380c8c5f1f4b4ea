//! Which pods, images and events a client wants to see.
//!
//! Responsible for: the conditions of `PodFilter`, `ImageFilter` and `EventFilter`. Must not know: where pods and images come from.
//! Follows rkt-reference.md 7.1 ("Filter semantics").

use super::wire::{Event, EventFilter, Image, ImageFilter, KeyValue, Pod, PodFilter};

/// Whether one of the filters wants the pod; no filter wants every pod.
pub fn wants_pod(filters: &[PodFilter], pod: &Pod) -> bool {
    filters.is_empty() || filters.iter().any(|filter| pod_matches(filter, pod))
}

/// Whether a filter may want the pod of which no more than its UUID is known: it need not be read otherwise.
pub fn may_want_pod(filters: &[PodFilter], id: &str) -> bool {
    filters.is_empty() || filters.iter().any(|filter| is_any(&filter.ids, id))
}

/// Whether one of the filters wants the image; no filter wants every image.
pub fn wants_image(filters: &[ImageFilter], image: &Image) -> bool {
    filters.is_empty() || filters.iter().any(|filter| image_matches(filter, image))
}

/// Whether a filter may want the image of which no more than its ID is known.
pub fn may_want_image(filters: &[ImageFilter], id: &str) -> bool {
    filters.is_empty() || filters.iter().any(|filter| is_any(&filter.ids, id))
}

/// Whether the filter wants the event.
pub fn wants_event(filter: &EventFilter, event: &Event) -> bool {
    // 0 is no time, but a bound that is not set.
    let since = filter.since_time == 0 || event.time > filter.since_time;
    let until = filter.until_time == 0 || event.time < filter.until_time;
    (filter.types.is_empty() || filter.types.contains(&event.r#type))
        && is_any(&filter.ids, &event.id)
        && is_any(&filter.names, &event.from)
        && since
        && until
}

fn pod_matches(filter: &PodFilter, pod: &Pod) -> bool {
    let has_app = |name: &String| pod.apps.iter().any(|app| app.name == *name);
    let has_image = |id: &String| pod.apps.iter().flat_map(|app| &app.image).any(|image| image.id == *id);
    let has_network = |name: &String| pod.networks.iter().any(|network| network.name == *name);
    // Without a cgroup a pod would be above every other.
    let is_above = |cgroup: &String| !pod.cgroup.is_empty() && cgroup.starts_with(&pod.cgroup);
    is_any(&filter.ids, &pod.id)
        && (filter.states.is_empty() || filter.states.contains(&pod.state))
        && filter.app_names.iter().all(has_app)
        && filter.image_ids.iter().all(has_image)
        && filter.network_names.iter().all(has_network)
        && has_all(&pod.annotations, &filter.annotations)
        && is_any(&filter.cgroups, &pod.cgroup)
        && (filter.pod_sub_cgroups.is_empty() || filter.pod_sub_cgroups.iter().any(is_above))
}

fn image_matches(filter: &ImageFilter, image: &Image) -> bool {
    let name = image.name.as_str();
    let base_name = name.rsplit('/').next().unwrap_or(name);
    let any = |wanted: &[String], matches: &dyn Fn(&str) -> bool| {
        wanted.is_empty() || wanted.iter().any(|text| matches(text))
    };
    // 0 is no time, but a bound that is not set.
    let after = filter.imported_after == 0 || image.import_timestamp > filter.imported_after;
    let before = filter.imported_before == 0 || image.import_timestamp < filter.imported_before;
    is_any(&filter.ids, &image.id)
        && any(&filter.prefixes, &|prefix| name.starts_with(prefix))
        && is_any(&filter.base_names, base_name)
        && any(&filter.keywords, &|keyword| name.contains(keyword))
        && has_all(&image.labels, &filter.labels)
        && after
        && before
        && has_all(&image.annotations, &filter.annotations)
        && is_any(&filter.full_names, name)
}

/// Whether the value is one of those wanted, or none is.
fn is_any(wanted: &[String], value: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|text| text == value)
}

fn has_all(pairs: &[KeyValue], wanted: &[KeyValue]) -> bool {
    wanted.iter().all(|pair| pairs.contains(pair))
}
