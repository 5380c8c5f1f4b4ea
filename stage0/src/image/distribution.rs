//! Distribution URIs, rkt's explicit form of an image string: `cimd:TYPE:v=VERSION:DATA`.
//!
//! Responsible for: the three types `appc`, `aci-archive` and `docker`. Must not know: the implicit forms of an image string.
//! Follows rkt-reference.md 3.1 and rkt's `Documentation/devel/distribution-point.md`.

use appc::{AppcError, Labels};
use url::form_urlencoded;

use super::reference::invalid;
use super::{AppcName, ImageError, Reference};

/// Scheme of the URIs.
pub(super) const SCHEME: &str = "cimd";
/// The one version there is of each type.
const VERSION: &str = "v=0";

/// Parses `rest`, which is `text` without the scheme.
pub(super) fn parse(text: &str, rest: &str) -> Result<Reference, ImageError> {
    let mut parts = rest.splitn(3, ':');
    let (Some(kind), Some(version), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(invalid(text, "a distribution URI has the form cimd:TYPE:v=VERSION:DATA"));
    };
    if version != VERSION {
        return Err(invalid(text, format!("{version:?} is no known version (only {VERSION:?})")));
    }
    match kind {
        "appc" => appc_name(text, data).map(Reference::Name),
        "aci-archive" => Reference::url(&unescaped(text, data)?),
        "docker" => Reference::docker(text, data),
        _ => {
            Err(invalid(text, format!("distribution type {kind:?} is not known (appc, aci-archive, docker)")))
        }
    }
}

/// `NAME?label=value&…`
fn appc_name(text: &str, data: &str) -> Result<AppcName, ImageError> {
    let wrong = |e: AppcError| invalid(text, e.to_string());
    let (name, query) = data.split_once('?').unwrap_or((data, ""));
    let mut labels = Labels::default();
    for (label, value) in form_urlencoded::parse(query.as_bytes()) {
        if labels.get(&label).is_some() {
            return Err(invalid(text, format!("label {label:?} is given twice")));
        }
        labels.set(label.parse().map_err(wrong)?, value.into_owned()).map_err(wrong)?;
    }
    Ok(AppcName { name: name.parse().map_err(wrong)?, labels })
}

/// Undoes a query's escaping: `%XX` and `+`.
fn unescaped(text: &str, data: &str) -> Result<String, ImageError> {
    // As the value of a query of one parameter, whose separators would have to be escaped.
    let query = format!("url={data}");
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    match (pairs.next(), pairs.next()) {
        (Some((_, url)), None) => Ok(url.into_owned()),
        _ => Err(invalid(text, "the URL in it is not escaped")),
    }
}
