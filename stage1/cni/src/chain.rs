//! The commands on a network: every plugin of its chain, in order, each told what the one before it did.
//!
//! Responsible for: ADD, and undoing it when it fails half way; DEL from what was kept; CHECK, GC, STATUS, and the choice of
//! a version. Must not know: pods, or how a plugin is run. Follows "Section 3: Execution of Network Configurations" of
//! the specification.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cache::{Cache, Record};
use crate::config::{Network, Plugin};
use crate::error::CniError;
use crate::flannel;
use crate::plugin::{self, Command, PluginError, Run, TIME_LIMIT, quote};
use crate::result::{AddResult, ResultError};
use crate::runtime::Attachment;
use crate::version::Version;

/// Runs plugins.
#[derive(Clone, Debug)]
pub struct Client {
    directories: Vec<PathBuf>,
    limit: Duration,
    interrupt: Option<Arc<File>>,
}

/// An attachment that GC must leave alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValidAttachment {
    /// Its container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Its interface.
    pub ifname: String,
}

/// What VERSION answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    supported_versions: Vec<String>,
}

/// What one run needs besides the plugin.
struct Call<'a> {
    command: Command,
    network: &'a str,
    version: Version,
    /// What it is attached to; nothing for GC and STATUS, which are of the network itself.
    attachment: Option<(&'a Attachment, &'a Path)>,
    /// The record's cache; a plugin without one reads from memory.
    cache: Option<&'a Cache>,
    previous: Option<&'a Map<String, Value>>,
    /// Further keys of the configuration.
    extra: Map<String, Value>,
}

impl Client {
    /// A client that looks for plugins in these directories, in order.
    pub fn new(directories: Vec<PathBuf>) -> Client {
        Client { directories, limit: TIME_LIMIT, interrupt: None }
    }

    /// The same for somebody who may not want to wait for a plugin: as soon as there is something to read from the file, a
    /// signalfd(2) for example, the plugin that runs is killed. It takes one signal for each plugin, so what undoes an interrupted
    /// ADD is waited for, until the next one.
    pub fn with_interrupt(self, interrupt: Arc<File>) -> Client {
        Client { interrupt: Some(interrupt), ..self }
    }

    /// The same with another limit of time for each plugin.
    pub fn with_time_limit(self, limit: Duration) -> Client {
        Client { limit, ..self }
    }

    /// Connects a container: ADD of each plugin. Before the first of them runs, `cache` has a record of it; if one
    /// fails, DEL is run for it and those before it, last first, and the record goes if that succeeded.
    ///
    /// The answer may have no address at all, which the specification allows.
    ///
    /// # Errors
    /// What was wrong with the attachment, what is not there, or what failed.
    pub fn add(
        &self,
        cache: &Cache,
        network: &Network,
        attachment: &Attachment,
    ) -> Result<AddResult, CniError> {
        attachment.validate()?;
        let network = self.resolve(network)?;
        for plugin in &network.plugins {
            self.find(&network, plugin, &[])?;
        }
        let version = self.negotiate(&network)?;
        let mut record = Record {
            network,
            version,
            attachment: attachment.clone(),
            plugin_directories: self.directories.clone(),
            result: None,
        };
        cache.write(&record)?;
        let mut begun = 0;
        let (result, raw) = match self.add_each(cache, &record, &mut begun) {
            Ok(result) => result,
            Err(cause) => return Err(self.undo(cache, &record, begun, cause)),
        };
        record.result = Some(raw);
        match cache.write(&record) {
            Ok(()) => Ok(result),
            Err(cause) => Err(self.undo(cache, &record, record.network.plugins.len(), cause)),
        }
    }

    /// Disconnects a container: DEL of each plugin, last first, whatever the others answer; then the record goes. `netns` is
    /// the namespace as it can be reached now; without one, the plugins release what lies outside of it.
    ///
    /// # Errors
    /// What failed; the record stays.
    pub fn delete(&self, cache: &Cache, record: &Record, netns: Option<&Path>) -> Result<(), CniError> {
        cache.wait_for_orphan(&record.attachment.ifname, self.limit);
        self.delete_first(cache, record, record.network.plugins.len(), netns)?;
        cache.remove(&record.attachment.ifname)
    }

    /// Disconnects a container from every network, the last one first.
    ///
    /// # Errors
    /// What failed; those records stay.
    pub fn delete_all(&self, cache: &Cache, netns: Option<&Path>) -> Result<(), CniError> {
        let delete = |ifname: String| -> Result<(), CniError> {
            match cache.record(&ifname)? {
                Some(record) => self.delete(cache, &record, netns),
                None => Ok(()),
            }
        };
        let interfaces = cache.interfaces()?;
        CniError::collect(interfaces.into_iter().rev().filter_map(|ifname| delete(ifname).err()).collect())
    }

    /// Asks each plugin whether the container is still connected as it was. Networks with `disableCheck` are.
    ///
    /// # Errors
    /// What a plugin finds wrong; [`CniError::NoSuchCommand`] before CNI 0.4.0.
    pub fn check(&self, cache: &Cache, record: &Record, netns: &Path) -> Result<(), CniError> {
        let network = &record.network;
        let command = Command::Check;
        if !record.version.has_check() {
            let (network, version) = (network.name.clone(), record.version);
            return Err(CniError::NoSuchCommand { network, version, command });
        }
        if network.disable_check {
            return Ok(());
        }
        let Some(result) = &record.result else {
            return Err(CniError::NotAttached { network: network.name.clone() });
        };
        for plugin in &network.plugins {
            let call = Call { previous: Some(result), ..Call::attached(command, record, cache, netns) };
            self.call(plugin, &record.plugin_directories, network, call)?;
        }
        Ok(())
    }

    /// Lets the plugins release what belongs to none of the attachments that are `valid`: all there are on this network.
    /// Does nothing before CNI 1.1.0 and with `disableGC`.
    ///
    /// # Errors
    /// What failed; the other plugins were run.
    pub fn gc(&self, network: &Network, valid: &[ValidAttachment]) -> Result<(), CniError> {
        let network = self.resolve(network)?;
        let version = self.negotiate(&network)?;
        if !version.has_gc_and_status() || network.disable_gc {
            return Ok(());
        }
        // libcni's second key: a draft of the specification had it.
        let extra: Map<String, Value> = ["cni.dev/valid-attachments", "cni.dev/attachments"]
            .map(|key| (key.to_owned(), json!(valid)))
            .into_iter()
            .collect();
        let gc = |plugin: &Plugin| {
            let call = Call { extra: extra.clone(), ..Call::of_network(Command::Gc, &network, version) };
            self.call(plugin, &[], &network, call)
        };
        CniError::collect(network.plugins.iter().filter_map(|plugin| gc(plugin).err()).collect())
    }

    /// Asks each plugin whether ADD would work. Before CNI 1.1.0 nobody can tell, and the answer is yes.
    ///
    /// # Errors
    /// Why it would not.
    pub fn status(&self, network: &Network) -> Result<(), CniError> {
        let network = self.resolve(network)?;
        let version = self.negotiate(&network)?;
        if !version.has_gc_and_status() {
            return Ok(());
        }
        for plugin in &network.plugins {
            self.call(plugin, &[], &network, Call::of_network(Command::Status, &network, version))?;
        }
        Ok(())
    }

    /// The version to speak: the only one that the configuration names; the highest that it names and every plugin
    /// speaks; if it names none, 0.1.0 as rkt always did, but the highest that every plugin speaks for a chain, which
    /// 0.1.0 does not have.
    ///
    /// # Errors
    /// [`CniError::NoCommonVersion`], or a plugin could not be asked.
    pub fn negotiate(&self, network: &Network) -> Result<Version, CniError> {
        let asked: &[Version] = match network.versions.as_slice() {
            [only] => return Ok(*only),
            [] if network.plugins.len() == 1 => return Ok(Version::default()),
            [] => &Version::ALL,
            several => several,
        };
        let mut common = asked.to_vec();
        for plugin in &network.plugins {
            let spoken = self.versions(network, plugin)?;
            common.retain(|version| spoken.contains(version));
        }
        let none = || CniError::NoCommonVersion { network: network.name.clone(), asked: asked.to_vec() };
        common.into_iter().max().ok_or_else(none)
    }

    /// The versions that a plugin speaks.
    fn versions(&self, network: &Network, plugin: &Plugin) -> Result<Vec<Version>, CniError> {
        let executable = self.find(network, plugin, &[])?;
        let failed = |cause| CniError::plugin(network, plugin, Command::Version, cause);
        let unreadable = |cause| failed(PluginError::Run { path: executable.clone(), cause });
        let newest = Version::V1_1_0;
        let stdin = in_memory(format!("{{\"cniVersion\":\"{newest}\"}}").as_bytes()).map_err(unreadable)?;
        // Plugins of 0.1.0 look at these before they look at the command.
        let dummy = || OsString::from("dummy");
        let environment = vec![
            ("CNI_VERSION", newest.as_str().into()),
            ("CNI_COMMAND", Command::Version.as_str().into()),
            ("CNI_CONTAINERID", dummy()),
            ("CNI_NETNS", dummy()),
            ("CNI_IFNAME", dummy()),
            ("CNI_ARGS", OsString::new()),
            ("CNI_PATH", plugin::search_path(&self.directories)),
        ];
        match self.run(&executable, environment, stdin) {
            Ok(output) => {
                let answer: Versions = serde_json::from_slice(&output)
                    .map_err(|_| failed(PluginError::NoVersions { output: quote(&output) }))?;
                Ok(answer.supported_versions.iter().filter_map(|version| version.parse().ok()).collect())
            }
            // The command came with 0.2.0.
            Err(PluginError::Reported { .. } | PluginError::Exit { .. }) => Ok(vec![Version::V0_1_0]),
            Err(cause) => Err(failed(cause)),
        }
    }

    /// The network with what `flannel` stands for, unless that plugin is installed.
    fn resolve(&self, network: &Network) -> Result<Network, CniError> {
        let mut network = network.clone();
        if plugin::find(flannel::KIND, &self.directories).is_some() {
            return Ok(network);
        }
        for plugin in network.plugins.iter_mut().filter(|plugin| plugin.kind == flannel::KIND) {
            *plugin = flannel::delegate(plugin)
                .map_err(|cause| CniError::Flannel { network: network.name.clone(), cause })?;
        }
        Ok(network)
    }

    /// ADD of each plugin; the last one's result, as it is and as it was printed. Counts in `begun`.
    fn add_each(
        &self,
        cache: &Cache,
        record: &Record,
        begun: &mut usize,
    ) -> Result<(AddResult, Map<String, Value>), CniError> {
        let network = &record.network;
        let mut result = (AddResult::default(), Map::new());
        for plugin in &network.plugins {
            let call = Call {
                previous: (*begun > 0).then_some(&result.1),
                ..Call::attached(Command::Add, record, cache, &record.attachment.netns)
            };
            *begun += 1;
            let output = self.call(plugin, &[], network, call)?;
            result = understand(&output, record.version)
                .map_err(|cause| CniError::plugin(network, plugin, Command::Add, cause))?;
        }
        Ok(result)
    }

    /// Undoes ADD of the first plugins because of `cause`, which it returns.
    fn undo(&self, cache: &Cache, record: &Record, begun: usize, cause: CniError) -> CniError {
        let undone = self
            .delete_first(cache, record, begun, Some(&record.attachment.netns))
            .and_then(|()| cache.remove(&record.attachment.ifname));
        match undone {
            Ok(()) => cause,
            Err(undo) => CniError::NotUndone { undo: undo.with_causes(), cause: Box::new(cause) },
        }
    }

    /// DEL of the first `count` plugins, last first.
    fn delete_first(
        &self,
        cache: &Cache,
        record: &Record,
        count: usize,
        netns: Option<&Path>,
    ) -> Result<(), CniError> {
        let netns = netns.unwrap_or(Path::new(""));
        let delete = |plugin: &Plugin| {
            let call = Call {
                previous: record.result.as_ref().filter(|_| record.version.has_check()),
                ..Call::attached(Command::Del, record, cache, netns)
            };
            self.call(plugin, &record.plugin_directories, &record.network, call)
        };
        let plugins = record.network.plugins.iter().take(count).rev();
        CniError::collect(plugins.filter_map(|plugin| delete(plugin).err()).collect())
    }

    /// One run of one plugin; what it printed.
    fn call(
        &self,
        plugin: &Plugin,
        further: &[PathBuf],
        network: &Network,
        call: Call<'_>,
    ) -> Result<Vec<u8>, CniError> {
        let executable = self.find(network, plugin, further)?;
        let input = call.input(plugin);
        let failed = |cause| CniError::plugin(network, plugin, call.command, cause);
        let kept =
            call.cache.zip(call.attachment).map(|(cache, (attachment, _))| (cache, &attachment.ifname));
        let stdin = match kept {
            Some((cache, ifname)) => cache.input(ifname, &input)?,
            None => in_memory(&input)
                .map_err(|cause| failed(PluginError::Run { path: executable.clone(), cause }))?,
        };
        let directories: Vec<PathBuf> = self.directories.iter().chain(further).cloned().collect();
        let environment = call.environment(&directories);
        let output = self.run(&executable, environment, stdin);
        if let Some((cache, ifname)) = kept {
            cache.release(ifname);
        }
        output.map_err(failed)
    }

    fn run(
        &self,
        executable: &Path,
        environment: Vec<(&'static str, OsString)>,
        stdin: File,
    ) -> Result<Vec<u8>, PluginError> {
        let interrupt = self.interrupt.as_deref();
        plugin::run(Run { executable, environment, stdin, limit: self.limit, interrupt })
    }

    /// The executable of a plugin.
    fn find(&self, network: &Network, plugin: &Plugin, further: &[PathBuf]) -> Result<PathBuf, CniError> {
        let found = plugin::find(&plugin.kind, &self.directories);
        found.or_else(|| plugin::find(&plugin.kind, further)).ok_or_else(|| CniError::NoPlugin {
            network: network.name.clone(),
            plugin: plugin.kind.clone(),
            searched: self.directories.clone(),
        })
    }
}

impl<'a> Call<'a> {
    fn attached(command: Command, record: &'a Record, cache: &'a Cache, netns: &'a Path) -> Call<'a> {
        Call {
            command,
            network: &record.network.name,
            version: record.version,
            attachment: Some((&record.attachment, netns)),
            cache: Some(cache),
            previous: None,
            extra: Map::new(),
        }
    }

    fn of_network(command: Command, network: &'a Network, version: Version) -> Call<'a> {
        let network = &network.name;
        Call { command, network, version, attachment: None, cache: None, previous: None, extra: Map::new() }
    }

    /// What the plugin reads: its configuration as it was written, and what the specification adds to it.
    fn input(&self, plugin: &Plugin) -> Vec<u8> {
        let mut config = plugin.raw.clone();
        config.insert("name".to_owned(), self.network.into());
        config.insert("cniVersion".to_owned(), self.version.as_str().into());
        if let Some(previous) = self.previous {
            config.insert("prevResult".to_owned(), Value::Object(previous.clone()));
        }
        let runtime = self.attachment.map(|(attachment, _)| attachment.runtime.for_plugin(plugin));
        if let Some(runtime) = runtime.filter(|runtime| !runtime.is_empty()) {
            config.insert("runtimeConfig".to_owned(), Value::Object(runtime));
        }
        config.extend(self.extra.clone());
        Value::Object(config).to_string().into_bytes()
    }

    /// All variables, so that none of the caller's own shines through.
    fn environment(&self, directories: &[PathBuf]) -> Vec<(&'static str, OsString)> {
        let of_attachment = |value: fn(&Attachment) -> &str| -> OsString {
            self.attachment.map_or("", |(attachment, _)| value(attachment)).into()
        };
        vec![
            ("CNI_VERSION", self.version.as_str().into()),
            ("CNI_COMMAND", self.command.as_str().into()),
            ("CNI_CONTAINERID", of_attachment(|attachment| &attachment.container_id)),
            ("CNI_NETNS", self.attachment.map_or_else(OsString::new, |(_, netns)| netns.into())),
            ("CNI_IFNAME", of_attachment(|attachment| &attachment.ifname)),
            ("CNI_ARGS", of_attachment(|attachment| &attachment.args)),
            ("CNI_PATH", plugin::search_path(directories)),
        ]
    }
}

/// A result as it is, and as JSON of the version that is spoken, for the next plugin.
fn understand(output: &[u8], version: Version) -> Result<(AddResult, Map<String, Value>), PluginError> {
    if output.trim_ascii().is_empty() {
        return Err(PluginError::NoResult);
    }
    let nonsense = |cause| PluginError::Nonsense { output: quote(output), cause };
    let raw: Map<String, Value> =
        serde_json::from_slice(output).map_err(|cause| nonsense(ResultError::Json(cause)))?;
    let result = AddResult::from_json(raw.clone()).map_err(nonsense)?;
    // As it was printed, with whatever a plugin's own successors understand; unless it is of another version.
    let raw = if raw.get("cniVersion").is_some_and(|written| written == version.as_str()) {
        raw
    } else {
        result.to_json(version)
    };
    Ok((result, raw))
}

/// A file that has this content and no name, at its beginning.
fn in_memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("cni", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}
