//! A root file system in memory: packages are laid over each other in it, edited, and written out in one order, without
//! root's rights and without anything on the disk that could differ from machine to machine. Does not know what the
//! files are for. /usr is merged, as on every Debian since 12: what a package puts in /bin or /lib lands below /usr.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::recipe::User;

/// Directories that are symbolic links into /usr.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// An owner: user and group number.
pub(crate) type Owner = (u32, u32);

/// One entry of the tree.
pub(crate) struct Node {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) owner: Owner,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What an entry is, and what it holds.
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// A regular file's content.
    File(Vec<u8>),
    /// A symbolic link's target.
    Symlink(String),
    /// A hard link to another path of the tree, without a leading slash.
    HardLink(String),
}

/// The tree: paths without a leading slash, in the order in which they are written (parents first).
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Nothing: what a layer above another one adds.
    pub(crate) fn layer() -> Self {
        Self { nodes: BTreeMap::new() }
    }

    /// The directories every root file system has.
    pub(crate) fn new() -> Self {
        let mut tree = Self { nodes: BTreeMap::new() };
        for name in MERGED {
            tree.add_directory(&format!("usr/{name}"), 0o755, (0, 0));
            tree.insert(name.to_owned(), 0o777, (0, 0), Kind::Symlink(format!("usr/{name}")));
        }
        for name in ["dev", "etc", "proc", "run", "sys", "var"] {
            tree.add_directory(name, 0o755, (0, 0));
        }
        tree.add_directory("tmp", 0o1777, (0, 0));
        tree
    }

    /// All entries, parents before children.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Adds everything in a Debian package.
    pub(crate) fn unpack(&mut self, package: &Path) -> Result<()> {
        let mut child = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(package)
            .stdout(Stdio::piped())
            .spawn()
            .context("running dpkg-deb")?;
        let output = child.stdout.take().context("dpkg-deb's output")?;
        let mut archive = tar::Archive::new(output);
        for entry in archive.entries().context("reading the package")? {
            let mut entry = entry.context("reading the package")?;
            let header = entry.header();
            let mode = header.mode().context("reading a mode")? & 0o7777;
            let number = |value: std::io::Result<u64>| -> Result<u32> { Ok(u32::try_from(value?)?) };
            let owner = (number(header.uid())?, number(header.gid())?);
            let entry_type = header.entry_type();
            let path = place(&entry.path().context("reading a path")?)?;
            let target = entry.link_name().context("reading a link")?;
            let target = target.as_deref().and_then(Path::to_str).map(str::to_owned);
            if path.is_empty() {
                continue;
            }
            let kind = match (entry_type, target) {
                (tar::EntryType::Directory, _) if self.nodes.contains_key(&path) => continue,
                (tar::EntryType::Directory, _) => Kind::Directory,
                (tar::EntryType::Regular, _) => {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content).with_context(|| format!("reading {path}"))?;
                    Kind::File(content)
                }
                (tar::EntryType::Symlink, Some(target)) => Kind::Symlink(target),
                (tar::EntryType::Link, Some(target)) => Kind::HardLink(place(Path::new(&target))?),
                (other, _) => bail!("{path} is a {other:?}, which no recipe needs so far"),
            };
            self.insert(path, mode, owner, kind);
        }
        let status = child.wait().context("waiting for dpkg-deb")?;
        ensure!(status.success(), "dpkg-deb ended with {status}");
        Ok(())
    }

    /// Removes a path and everything below it but what is below one of `keep`, and the way there.
    pub(crate) fn remove(&mut self, path: &str, keep: &[String]) {
        let kept = |name: &str| keep.iter().any(|kept| is_below(name, kept) || is_below(kept, name));
        self.nodes.retain(|name, _| !is_below(name, path) || kept(name));
    }

    /// Adds or replaces a file.
    pub(crate) fn add_file(&mut self, path: &str, mode: u32, owner: Owner, content: Vec<u8>) {
        self.insert(path.trim_start_matches('/').to_owned(), mode, owner, Kind::File(content));
    }

    /// Adds a directory, or changes the mode and owner of the one that is there.
    pub(crate) fn add_directory(&mut self, path: &str, mode: u32, owner: Owner) {
        self.insert(path.trim_start_matches('/').to_owned(), mode, owner, Kind::Directory);
    }

    /// Adds a symbolic link.
    pub(crate) fn add_symlink(&mut self, path: &str, target: &str) {
        self.insert(path.trim_start_matches('/').to_owned(), 0o777, (0, 0), Kind::Symlink(target.to_owned()));
    }

    /// Writes /etc/passwd and /etc/group for root and `users`.
    pub(crate) fn add_users(&mut self, users: &[User]) {
        let mut passwd = String::from("root:x:0:0:root:/root:/bin/sh\n");
        let mut group = String::from("root:x:0:\n");
        for User { name, id, home } in users {
            passwd.push_str(&format!("{name}:x:{id}:{id}::{home}:/usr/sbin/nologin\n"));
            group.push_str(&format!("{name}:x:{id}:\n"));
        }
        self.add_file("etc/passwd", 0o644, (0, 0), passwd.into_bytes());
        self.add_file("etc/group", 0o644, (0, 0), group.into_bytes());
    }

    /// Puts a node in place, with the parents it lacks.
    fn insert(&mut self, path: String, mode: u32, owner: Owner, kind: Kind) {
        for (end, _) in path.match_indices('/') {
            if let Some(parent) = path.get(..end) {
                let directory = Node { mode: 0o755, owner: (0, 0), kind: Kind::Directory };
                self.nodes.entry(parent.to_owned()).or_insert(directory);
            }
        }
        self.nodes.insert(path, Node { mode, owner, kind });
    }
}

/// Whether a path is another one or below it.
fn is_below(path: &str, parent: &str) -> bool {
    let rest = path.trim_start_matches('/').strip_prefix(parent.trim_start_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A package's path as the tree writes it: relative, without `.`, with /usr merged.
pub(crate) fn place(path: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str().context("a path is not UTF-8")?),
            Component::CurDir | Component::RootDir => {}
            other => bail!("{} has a component {other:?}", path.display()),
        }
    }
    match parts.first() {
        Some(first) if MERGED.contains(first) => parts.insert(0, "usr"),
        _ => {}
    }
    Ok(parts.join("/"))
}
