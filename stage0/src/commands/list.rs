//! `rkt list`.
//!
//! Responsible for: the table of pods and its JSON form. Must not know: how a pod's files look. Follows
//! rkt-reference.md 1.6.

use std::fmt::Write;
use std::time::SystemTime;

use super::format::{Format, ListFlags};
use crate::cli::globals::GlobalFlags;
use crate::clock;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::image::printable;
use crate::log::Log;
use crate::output;
use crate::pod::inspect::Network;
use crate::pod::locate::{FoundPod, Pods};
use crate::pod::report::{PodReport, to_json};
use crate::table;

/// Characters of a UUID in the table.
const SHORT_UUID: usize = 8;
/// Characters of an image ID in the table: `sha512-` and 12 digits.
const SHORT_IMAGE_ID: usize = 19;

/// Flags of `rkt list`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    list: ListFlags,
}

/// Prints the pods. A pod that cannot be read is reported after the others and fails nothing.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let pods = Pods::of(&config::data_directory(globals)?);
    let mut errors: Vec<Stage0Error> = Vec::new();
    match arguments.list.format {
        Format::Text => print_table(arguments, &pods, &mut errors)?,
        Format::Json { pretty } => print_json(pretty, &pods, &mut errors)?,
    }
    report(log, "listing pods", &errors);
    Ok(0)
}

/// Looks at each pod, one after the other: there can be more of them than a process may have open.
fn describe_all<T>(
    pods: &Pods,
    errors: &mut Vec<Stage0Error>,
    describe: impl Fn(&FoundPod) -> Result<T>,
) -> Result<Vec<T>> {
    let mut described = Vec::new();
    for (uuid, stage) in pods.list_nameable().context("failed to get pod handles")? {
        let pod = match pods.open(uuid, stage) {
            Ok(Some(pod)) => pod,
            Ok(None) => continue,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        match describe(&pod).context(format!("error reading pod {uuid}")) {
            Ok(description) => described.push(description),
            Err(_) if pods.is_leaving(&pod) => {}
            Err(error) => errors.push(error),
        }
    }
    Ok(described)
}

fn print_json(pretty: bool, pods: &Pods, errors: &mut Vec<Stage0Error>) -> Result<()> {
    let reports = describe_all(pods, errors, PodReport::of)?;
    // An empty slice of Go's is `null`.
    let reports = (!reports.is_empty()).then_some(reports);
    output::print(&to_json(&reports, pretty)?);
    Ok(())
}

fn print_table(arguments: &Arguments, pods: &Pods, errors: &mut Vec<Stage0Error>) -> Result<()> {
    let mut text = String::new();
    if !arguments.list.no_legend {
        let image_id = if arguments.list.full { "IMAGE ID\t" } else { "" };
        text.push_str(&format!("UUID\tAPP\tIMAGE NAME\t{image_id}STATE\tCREATED\tSTARTED\tNETWORKS\n"));
    }
    let now = SystemTime::now();
    for rows in describe_all(pods, errors, |pod| rows(pod, arguments.list.full, now))? {
        text.push_str(&rows);
    }
    if !text.is_empty() {
        output::print(&table::align(&text));
    }
    Ok(())
}

/// An app's columns.
struct AppCells {
    name: String,
    image: String,
    image_id: String,
}

pub(super) fn rows(pod: &FoundPod, full: bool, now: SystemTime) -> Result<String> {
    let time = |time| if full { clock::full(time) } else { clock::humanised(time, now) };
    let uuid = pod.uuid().to_string();
    let uuid = if full { uuid.as_str() } else { uuid.get(..SHORT_UUID).unwrap_or(&uuid) };
    let started = pod.start_time().map(|started| time(Some(started))).unwrap_or_default();
    let networks = format_networks(&pod.networks()?);

    let mut apps = if pod.state().has_manifest() { app_cells(pod)? } else { Vec::new() };
    if apps.is_empty() {
        let none = || "-".to_owned();
        apps.push(AppCells { name: none(), image: none(), image_id: none() });
    }
    let mut text = String::new();
    let mut pod_cells = [uuid, pod.state().as_str(), &time(pod.creation_time()), &started, &networks];
    for app in apps {
        let [uuid, state, created, started, networks] = pod_cells;
        let image_id = if full { format!("{}\t", app.image_id) } else { String::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{uuid}\t{}\t{}\t{image_id}{state}\t{created}\t{started}\t{networks}",
            app.name, app.image
        );
        // Further apps of the pod leave its columns empty.
        pod_cells = [""; 5];
    }
    Ok(text)
}

fn app_cells(pod: &FoundPod) -> Result<Vec<AppCells>> {
    let manifest = pod.manifest()?;
    let cells = manifest.apps.iter().map(|app| {
        let image = match pod.image_manifest(app.name.as_str()) {
            Err(_) => "--".to_owned(),
            Ok(image) => match image.labels.get("version") {
                // A version is any text, and its writer must not write over the terminal or into other columns.
                Some(version) => printable(&format!("{}:{version}", image.name)),
                None => image.name.to_string(),
            },
        };
        let id = app.image.id.as_str();
        let image_id = id.get(..SHORT_IMAGE_ID).unwrap_or(id).to_owned();
        AppCells { name: app.name.to_string(), image, image_id }
    });
    Ok(cells.collect())
}

/// `name:ip4=ADDRESS`, joined by commas.
pub fn format_networks(networks: &[Network]) -> String {
    let one = |network: &Network| {
        let family = if network.ip.contains(':') { "ip6" } else { "ip4" };
        format!("{}:{family}={}", network.net_name, network.ip)
    };
    networks.iter().map(one).collect::<Vec<String>>().join(", ")
}

/// Prints what went wrong while `doing` something to many things, of which the others are shown.
pub(super) fn report(log: Log, doing: &str, errors: &[Stage0Error]) {
    const SEPARATOR: &str = "----------------------------------------";
    if errors.is_empty() {
        return;
    }
    log.print(format!("{} error(s) encountered when {doing}:", errors.len()));
    log.print(SEPARATOR);
    for error in errors {
        log.error(error);
        log.print(SEPARATOR);
    }
    log.print("misc:");
    log.print(format!("  rkt's appc version: {}", super::version::APPC_VERSION));
    log.print(SEPARATOR);
}
