//! Plugins that are shell scripts, for the tests.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::runtime::RuntimeConfig;
use crate::{Attachment, Cache, Client, Network};

/// A host with scripted plugins, and a container on it.
pub(crate) struct Host {
    root: TempDir,
    pub(crate) cache: Cache,
}

impl Host {
    pub(crate) fn new() -> Host {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("plugins")).unwrap();
        let cache = Cache::new(root.path().join("net"));
        Host { root, cache }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Installs a plugin that notes its calls (`COMMAND KIND`), what it reads and its environment, and then does `body`, in
    /// which `$root` is the host's directory.
    pub(crate) fn plugin(&self, kind: &str, body: &str) {
        let root = self.root.path().display();
        let script = format!(
            "#!/bin/sh\nroot={root}\ncat > $root/{kind}.$CNI_COMMAND.conf\n\
             env | grep ^CNI_ | sort > $root/{kind}.$CNI_COMMAND.env\n\
             echo $CNI_COMMAND {kind} >> $root/calls\n{body}\n"
        );
        // By another process: were it open for writing here while another test forks, it could not be executed.
        let path = self.root.path().join("plugins").join(kind);
        let mut shell = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod +x \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }

    /// Installs a plugin whose ADD answers this.
    pub(crate) fn answering(&self, kind: &str, answer: &Value) {
        self.plugin(kind, &format!("test $CNI_COMMAND != ADD || cat <<'END'\n{answer}\nEND"));
    }

    pub(crate) fn client(&self) -> Client {
        // Short enough for the tests that break it, which sleep for longer than any test may take.
        Client::new(vec![self.path("elsewhere"), self.path("plugins")])
    }

    pub(crate) fn impatient(&self) -> Client {
        self.client().with_time_limit(Duration::from_millis(300))
    }

    /// `COMMAND KIND` of each call, since the last time this was asked.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        calls.lines().map(str::to_owned).collect()
    }

    /// What a plugin read at its last call of that command.
    pub(crate) fn input(&self, kind: &str, command: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(&format!("{kind}.{command}.conf"))).unwrap()).unwrap()
    }

    /// Its environment at that call: the lines of `CNI_…`.
    pub(crate) fn environment(&self, kind: &str, command: &str) -> Vec<String> {
        let environment = fs::read_to_string(self.path(&format!("{kind}.{command}.env"))).unwrap();
        environment.lines().map(str::to_owned).collect()
    }
}

/// A network of these plugins.
pub(crate) fn network(version: &str, kinds: &[&str]) -> Network {
    let plugins: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    parse(json!({"name": "net", "cniVersion": version, "plugins": plugins}))
}

pub(crate) fn parse(config: Value) -> Network {
    Network::parse(config.to_string().as_bytes(), Path::new("/etc/rkt/net.d/10-net.conflist"), false).unwrap()
}

pub(crate) fn attachment() -> Attachment {
    Attachment {
        container_id: "a5b1".into(),
        netns: "/run/netns/pod".into(),
        ifname: "eth0".into(),
        args: "IP=10.0.0.5;K=V".into(),
        runtime: RuntimeConfig::default(),
    }
}

/// A result of ADD with one address.
pub(crate) fn answer(version: &str, address: &str) -> Value {
    json!({"cniVersion": version, "interfaces": [{"name": "eth0"}], "ips": [{"address": address, "interface": 0}]})
}
