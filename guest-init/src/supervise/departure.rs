//! The end of one app while its pod goes on.
//!
//! Responsible for: noticing that none of its processes is left, killing them, and leaving nothing behind that was made for
//! it. Must not know: when that is to be done ([`crate::pod`] decides). Follows the kernel's
//! Documentation/admin-guide/cgroup-v2.rst.

use std::collections::BTreeSet;

use guest_api::{AppId, Process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use super::{Supervisor, targets};
use crate::app::{cgroup, notify, root};
use crate::pod::{self, Whom};
use crate::{InitError, console, mounts, sentence};

/// How often processes are looked for that were made while others were killed. One that makes them faster ends with the pod.
const KILL_ROUNDS: usize = 16;

impl Supervisor {
    /// Whoever ended last in an app was a child of PID 1, or its parent was, so this is looked at after every end.
    pub(super) fn notice_emptied(&mut self) {
        let watched: Vec<(AppId, Whom)> = self.watched.iter().map(|(app, whom)| (*app, *whom)).collect();
        for (app, whom) in watched {
            if self.is_empty(app, whom) {
                self.watched.remove(&app);
                self.events.push_back(pod::Event::Emptied(app).into());
            }
        }
    }

    /// One that cannot be looked at has to be killed first.
    fn is_empty(&self, app: AppId, whom: Whom) -> bool {
        self.processes(app, whom).is_ok_and(|processes| processes.is_empty())
    }

    fn processes(&self, app: AppId, whom: Whom) -> std::io::Result<Vec<i32>> {
        let mut processes = cgroup::processes(app)?;
        if whom == Whom::All || processes.is_empty() {
            return Ok(processes);
        }
        // Every command leads a session of the kernel's.
        let of_commands: BTreeSet<i32> = self
            .children
            .iter()
            .filter(|(process, _)| matches!(process, Process::Session(_)))
            .filter_map(|(_, child)| child.pid)
            .collect();
        let session = |pid: i32| getsid(Some(Pid::from_raw(pid))).map_or(pid, Pid::as_raw);
        processes.retain(|pid| !of_commands.contains(&session(*pid)));
        Ok(processes)
    }

    /// SIGTERM to every process of the app, as rkt's systemd does; the main one may not have joined its group yet. One that was
    /// stopped could not act on it.
    pub(super) fn terminate(&self, app: AppId, whom: Whom) {
        let main = self.children.get(&Process::App(app)).and_then(|child| child.pid);
        for pid in targets(self.processes(app, whom).unwrap_or_default(), main) {
            // It may have ended meanwhile, which is what the signal is for.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }

    pub(super) fn kill_app(&self, app: AppId, whom: Whom) {
        // The main process may not have joined the group yet.
        if let Some(main) = self.children.get(&Process::App(app)).and_then(|child| child.pid) {
            let _ = kill(Pid::from_raw(main), Signal::SIGKILL);
        }
        let killed = match whom {
            Whom::All => cgroup::kill(app),
            Whom::Own => self.kill_own(app),
        };
        if let Err(error) = killed {
            console::say(&format!("cannot kill the processes of app number {}: {error}", app.0));
        }
    }

    /// The kernel's way to kill a group, which nothing escapes, if there are no commands in it; else one process after the other.
    fn kill_own(&self, app: AppId) -> std::io::Result<()> {
        for _ in 0..KILL_ROUNDS {
            let own = self.processes(app, Whom::Own)?;
            if own.len() == cgroup::processes(app)?.len() {
                return cgroup::kill(app);
            }
            for pid in own {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        Ok(())
    }

    /// Lets go of everything that was made for the app. Whatever of it fails, fails for a reason that only a reader of the
    /// console can do something about; the app is over.
    pub(super) fn release(&mut self, app: AppId) {
        self.watched.remove(&app);
        self.close(Process::App(app));
        self.children.remove(&Process::App(app));
        self.namespaces.remove(&app);
        self.notify.remove(&app);
        let _ = std::fs::remove_file(notify::path(app));
        if self.apps.remove(&app).is_none() {
            return;
        }
        let results = [
            cgroup::remove(app).map_err(InitError::kernel("remove the control group of an app")),
            root::remove_generated_files(app).map_err(InitError::kernel("remove the files of an app")),
            mounts::release_unused(),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            console::say(&sentence(&error));
        }
    }
}
