//! Finding the networks that were asked for.
//!
//! Responsible for: which files define networks, which definition of a name counts, and the order of the interfaces. Must
//! not know: what the networks are for. Follows rkt-reference 6.7; `.conflist` and `.json` are libcni's additions.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::{Network, object, text};
use crate::error::CniError;

/// The longest configuration: real ones are below 10 kB.
pub const LONGEST_CONFIGURATION: u64 = 1 << 20;

/// Ends of the names of files that define networks.
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// Where networks are defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// Those that come with rkt.
    pub built_in: PathBuf,
    /// Those of this host, which override by name; `<local-config>/net.d`.
    pub local: PathBuf,
}

/// One network of `--net`: its name and the plugins' arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `default`, `all`, `none` or a network's name.
    pub name: String,
    /// Text behind the colon, for `CNI_ARGS`.
    pub args: String,
}

/// Which networks are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    requests: Vec<Request>,
}

/// A network that was asked for, with all that was said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// The network.
    pub network: Network,
    /// `CNI_ARGS`.
    pub args: String,
    /// Name of its interface: `eth0` for the first.
    pub ifname: String,
}

/// The networks that were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// In order of their interfaces.
    pub networks: Vec<Selected>,
    /// What the user should hear about definitions that were passed over.
    pub notices: Vec<String>,
}

impl Selection {
    /// From the items of `--net`.
    pub fn new(requests: Vec<Request>) -> Selection {
        Selection { requests }
    }

    /// Whether there is to be no network.
    pub fn is_none(&self) -> bool {
        self.requests.is_empty() || self.requests.iter().any(|request| request.name == "none")
    }

    fn is_all(&self) -> bool {
        self.requests.iter().any(|request| request.name == "all")
    }

    fn wants(&self, name: &str) -> bool {
        self.is_all() || self.requests.iter().any(|request| request.name == name)
    }

    fn args(&self, name: &str) -> String {
        let request = self.requests.iter().find(|request| request.name == name);
        request.map(|request| request.args.clone()).unwrap_or_default()
    }
}

/// Finds the networks of a selection.
///
/// # Errors
/// A directory or file that cannot be read, a definition that is wrong, or names that nothing defines.
pub fn load(directories: &Directories, selection: &Selection) -> Result<Loaded, CniError> {
    let mut loaded = Loaded::default();
    if selection.is_none() {
        return Ok(loaded);
    }
    let mut found = read_directory(&directories.built_in, true, selection, &mut loaded.notices)?;
    for local in read_directory(&directories.local, false, selection, &mut loaded.notices)? {
        if let Some(place) = found.iter().position(|network| network.name == local.name) {
            let directory = directories.local.display();
            loaded.notices.push(format!("overriding {:?} network with one from {directory}", local.name));
            found.remove(place);
        }
        found.push(local);
    }
    let missing: Vec<String> = selection
        .requests
        .iter()
        .filter(|request| request.name != "all" && !found.iter().any(|network| network.name == request.name))
        .map(|request| request.name.clone())
        .collect();
    if !missing.is_empty() {
        return Err(CniError::NetworksNotFound(missing));
    }
    found.sort_by(|a, b| a.source.file_name().cmp(&b.source.file_name()));
    loaded.networks = found
        .into_iter()
        .enumerate()
        .map(|(index, network)| Selected {
            args: selection.args(&network.name),
            ifname: format!("eth{index}"),
            network,
        })
        .collect();
    Ok(loaded)
}

/// The networks of one directory that are wanted; a directory that is not there has none.
fn read_directory(
    directory: &Path,
    built_in: bool,
    selection: &Selection,
    notices: &mut Vec<String>,
) -> Result<Vec<Network>, CniError> {
    let mut networks: Vec<Network> = Vec::new();
    for path in files(directory)? {
        let raw = object(&read(&path)?).map_err(|cause| CniError::config(&path, cause))?;
        // A network that nobody asked for may be wrong in all but its name, as in rkt.
        let name = text(&raw, "name").map_err(|cause| CniError::config(&path, cause))?.unwrap_or_default();
        if !selection.wants(name) {
            continue;
        }
        if networks.iter().any(|network| network.name == name) {
            let file = path.file_name().unwrap_or_default().display();
            notices.push(format!("{name:?} network already defined, ignoring {file}"));
            continue;
        }
        networks
            .push(Network::from_json(raw, &path, built_in).map_err(|cause| CniError::config(&path, cause))?);
    }
    Ok(networks)
}

/// The files that define networks, sorted by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>, CniError> {
    let unreadable = |cause| CniError::ReadConfig { path: directory.to_owned(), cause };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let known = path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known));
        if known && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, CniError> {
    let read = || -> io::Result<Vec<u8>> {
        // A FIFO would keep the pod from starting for ever.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut content = Vec::new();
        File::open(path)?.take(LONGEST_CONFIGURATION + 1).read_to_end(&mut content)?;
        if content.len() as u64 > LONGEST_CONFIGURATION {
            return Err(io::Error::other("it is longer than 1 MiB"));
        }
        Ok(content)
    };
    read().map_err(|cause| CniError::ReadConfig { path: path.to_owned(), cause })
}
