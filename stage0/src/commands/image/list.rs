//! `rkt image list`.
//!
//! Responsible for: the table of images, its columns and order, and its JSON form. Must not know: how the store keeps
//! images. Follows rkt-reference.md 1.6 and 7.3.

use std::cmp::Ordering;
use std::str::FromStr;
use std::time::SystemTime;

use serde::Serialize;

use super::open_store;
use crate::cli::flag::words;
use crate::cli::globals::GlobalFlags;
use crate::cli::option_list;
use crate::clock;
use crate::commands::format::{Format, ListFlags};
use crate::commands::list::report;
use crate::error::{Context, Result};
use crate::image::printable;
use crate::log::Log;
use crate::output;
use crate::pod::report::to_json;
use crate::size;
use crate::store::{ImageInfo, ImageStore, StoreError};
use crate::table;

/// Characters of an image ID in the table: `sha512-` and 12 digits.
const SHORT_ID: usize = 19;

/// A column, and what the table can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Name,
    Size,
    ImportTime,
    LastUsed,
}

/// The columns by the names users give them.
const FIELDS: [(&str, Field); 5] = [
    ("id", Field::Id),
    ("name", Field::Name),
    ("size", Field::Size),
    ("importtime", Field::ImportTime),
    ("lastused", Field::LastUsed),
];

/// What the table can be sorted by.
const SORT_FIELDS: [(&str, Field); 4] = [
    ("name", Field::Name),
    ("importtime", Field::ImportTime),
    ("lastused", Field::LastUsed),
    ("size", Field::Size),
];

/// The value of `--fields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields(pub Vec<Field>);

/// The value of `--sort`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SortFields(pub Vec<Field>);

impl FromStr for Fields {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        option_list::parse(text, &FIELDS).map(Fields)
    }
}

impl FromStr for SortFields {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        option_list::parse(text, &SORT_FIELDS).map(SortFields)
    }
}

/// The value of `--order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Ascending,
    Descending,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.to_lowercase().as_str() {
            "asc" => Ok(Order::Ascending),
            "desc" => Ok(Order::Descending),
            _ => Err("wrong sort order".to_owned()),
        }
    }
}

/// Flags of `rkt image list`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// comma-separated list of fields to display. Accepted values: "id", "name", "size", "importtime", "lastused"
    #[arg(
        long, default_value = "id,name,size,importtime,lastused",
        value_parser = words(FIELDS.map(|(name, _)| name), Fields::from_str)
    )]
    fields: Fields,

    /// sort the output according to the provided comma-separated list of fields. Accepted values: "name", "importtime", "lastused", "size"
    #[arg(
        long, default_value = "importtime",
        value_parser = words(SORT_FIELDS.map(|(name, _)| name), SortFields::from_str)
    )]
    sort: SortFields,

    /// choose the sorting order if at least one sort field is provided (--sort). Accepted values: "asc", "desc"
    #[arg(long, default_value = "asc", value_parser = words(["asc", "desc"], Order::from_str))]
    order: Order,

    #[command(flatten)]
    list: ListFlags,
}

/// An image as it is listed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Entry {
    pub id: String,
    /// With the version behind a colon.
    pub name: String,
    /// Nanoseconds since 1970.
    pub import_time: i64,
    /// Nanoseconds since 1970.
    pub last_used_time: i64,
    /// Bytes of the image and of its rendered tree.
    pub size: u64,
}

/// Prints the images. One that cannot be read is reported and fails nothing.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let store = open_store(globals)?;
    let mut images = store.images().context("unable to get aci infos")?;
    sort(&mut images, &arguments.sort.0, arguments.order);
    let mut entries = Vec::with_capacity(images.len());
    let mut errors = Vec::new();
    for image in &images {
        match entry(&store, image) {
            Ok(entry) => entries.extend(entry),
            Err(error) => errors.push(error),
        }
    }
    match arguments.list.format {
        Format::Text => {
            let legend = !arguments.list.no_legend;
            let text = table(&entries, &arguments.fields.0, legend, arguments.list.full, SystemTime::now());
            if !text.is_empty() {
                output::print(&table::align(&text));
            }
        }
        Format::Json { pretty } => {
            // An empty slice of Go's is `null`.
            let entries = (!entries.is_empty()).then_some(entries);
            output::print(&to_json(&entries, pretty)?);
        }
    }
    report(log, "listing images", &errors);
    Ok(0)
}

/// Orders images by these fields, and by key where they are equal.
pub(super) fn sort(images: &mut [ImageInfo], by: &[Field], order: Order) {
    images.sort_by(|a, b| {
        let ordering = by.iter().map(|field| compare(*field, a, b)).find(|ordering| ordering.is_ne());
        let ordering = ordering.unwrap_or(Ordering::Equal);
        let ordering = if order == Order::Descending { ordering.reverse() } else { ordering };
        ordering.then_with(|| a.key.cmp(&b.key))
    });
}

fn compare(field: Field, a: &ImageInfo, b: &ImageInfo) -> Ordering {
    match field {
        Field::Id => a.key.cmp(&b.key),
        Field::Name => a.name.cmp(&b.name),
        Field::Size => total(a).cmp(&total(b)),
        Field::ImportTime => a.import_time.cmp(&b.import_time),
        Field::LastUsed => a.last_used.cmp(&b.last_used),
    }
}

fn total(image: &ImageInfo) -> u64 {
    image.size.saturating_add(image.tree_size)
}

/// `None` if the image was removed meanwhile.
fn entry(store: &ImageStore, image: &ImageInfo) -> Result<Option<Entry>> {
    let manifest = match store.manifest(&image.key) {
        Err(StoreError::NoImage(_)) => return Ok(None),
        manifest => manifest.context(format!("unable to load manifest of image {}", image.key))?,
    };
    let name = match manifest.labels.get("version") {
        Some(version) => format!("{}:{version}", image.name),
        None => image.name.clone(),
    };
    Ok(Some(Entry {
        id: image.key.to_string(),
        name,
        import_time: clock::unix_nanoseconds(image.import_time),
        last_used_time: clock::unix_nanoseconds(image.last_used),
        size: total(image),
    }))
}

/// The table with tabs behind its cells but the last.
pub(super) fn table(
    entries: &[Entry],
    fields: &[Field],
    legend: bool,
    full: bool,
    now: SystemTime,
) -> String {
    let mut lines: Vec<String> = Vec::with_capacity(entries.len() + 1);
    let join = |cells: Vec<String>| cells.join("\t") + "\n";
    if legend {
        lines.push(join(fields.iter().map(|field| header(*field).to_owned()).collect()));
    }
    for entry in entries {
        lines.push(join(fields.iter().map(|field| cell(*field, entry, full, now)).collect()));
    }
    lines.concat()
}

const fn header(field: Field) -> &'static str {
    match field {
        Field::Id => "ID",
        Field::Name => "NAME",
        Field::Size => "SIZE",
        Field::ImportTime => "IMPORT TIME",
        Field::LastUsed => "LAST USED",
    }
}

fn cell(field: Field, entry: &Entry, full: bool, now: SystemTime) -> String {
    let time = |nanoseconds: i64| {
        let since = std::time::Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
        let time = Some(SystemTime::UNIX_EPOCH + since);
        if full { clock::full(time) } else { clock::humanised(time, now) }
    };
    match field {
        Field::Id if full => entry.id.clone(),
        Field::Id => entry.id.get(..SHORT_ID).unwrap_or(&entry.id).to_owned(),
        // A version is any text, and its writer must not write over the terminal.
        Field::Name => printable(&entry.name),
        Field::Size if full => entry.size.to_string(),
        Field::Size => size::humanised(entry.size),
        Field::ImportTime => time(entry.import_time),
        Field::LastUsed => time(entry.last_used_time),
    }
}
