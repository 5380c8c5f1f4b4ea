//! The states of a pod: the directory it is found in, and whether someone holds that directory's lock.
//!
//! Responsible for: names of states and of the directories, the mapping between them. Must not know: how a pod is
//! looked for. Follows rkt-reference.md 2.3.

/// The directories below `DATA/pods`, one for each stage of a pod's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Just made, not locked yet.
    Embryo,
    /// Being prepared by the holder of the lock.
    Prepare,
    /// Ready to run.
    Prepared,
    /// Run by the holder of the lock, or exited.
    Run,
    /// Exited and marked for collection.
    ExitedGarbage,
    /// Never ran, marked for collection.
    Garbage,
}

impl Stage {
    /// In the order in which a pod is looked up. A pod only ever moves forward in it, so a reader that
    /// follows this order cannot miss a pod that moves while it looks.
    pub const ALL: [Stage; 6] =
        [Stage::Embryo, Stage::Prepare, Stage::Prepared, Stage::Run, Stage::ExitedGarbage, Stage::Garbage];

    /// Directory name below `DATA/pods`.
    pub const fn directory(self) -> &'static str {
        match self {
            Stage::Embryo => "embryo",
            Stage::Prepare => "prepare",
            Stage::Prepared => "prepared",
            Stage::Run => "run",
            Stage::ExitedGarbage => "exited-garbage",
            Stage::Garbage => "garbage",
        }
    }

    /// The state of a pod found here. `locked` says whether someone holds the directory's lock exclusively.
    pub const fn state(self, locked: bool) -> State {
        match (self, locked) {
            (Stage::Embryo, _) => State::Embryo,
            (Stage::Prepare, true) => State::Preparing,
            (Stage::Prepare, false) => State::AbortedPrepare,
            (Stage::Prepared, _) => State::Prepared,
            (Stage::Run, true) => State::Running,
            (Stage::Run, false) => State::Exited,
            (Stage::ExitedGarbage, true) => State::ExitedDeleting,
            (Stage::ExitedGarbage, false) => State::ExitedGarbage,
            (Stage::Garbage, true) => State::Deleting,
            (Stage::Garbage, false) => State::Garbage,
        }
    }
}

/// What a pod is, as `list` and `status` say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Just made.
    Embryo,
    /// Being prepared.
    Preparing,
    /// Its preparation ended without success.
    AbortedPrepare,
    /// Ready to run.
    Prepared,
    /// Running.
    Running,
    /// Being deleted, never ran.
    Deleting,
    /// Being deleted after it ran.
    ExitedDeleting,
    /// Ended.
    Exited,
    /// Ended and marked for collection.
    ExitedGarbage,
    /// Never ran, marked for collection.
    Garbage,
}

impl State {
    /// The text in tables, `status` and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Embryo => "embryo",
            State::Preparing => "preparing",
            State::AbortedPrepare => "aborted prepare",
            State::Prepared => "prepared",
            State::Running => "running",
            State::Deleting => "deleting",
            State::ExitedDeleting => "exited deleting",
            State::Exited => "exited",
            State::ExitedGarbage => "exited garbage",
            State::Garbage => "garbage",
        }
    }

    /// The pod has run and will not again.
    pub const fn is_after_run(self) -> bool {
        matches!(
            self,
            State::Exited | State::ExitedGarbage | State::ExitedDeleting | State::Garbage | State::Deleting
        )
    }

    /// Nothing more will happen in the pod (what `status --wait` waits for).
    pub const fn is_finished(self) -> bool {
        self.is_exited() || matches!(self, State::AbortedPrepare | State::Garbage | State::Deleting)
    }

    /// The pod ran and ended.
    pub const fn is_exited(self) -> bool {
        matches!(self, State::Exited | State::ExitedGarbage | State::ExitedDeleting)
    }

    /// The pod's manifest can be read.
    pub const fn has_manifest(self) -> bool {
        !matches!(self, State::Embryo | State::Preparing | State::AbortedPrepare | State::Deleting)
    }

    /// The pod's creation time is known.
    pub const fn has_creation_time(self) -> bool {
        self.is_after_run() || matches!(self, State::Prepared | State::Running)
    }

    /// The pod was started at least once.
    pub const fn was_started(self) -> bool {
        matches!(
            self,
            State::Running | State::Deleting | State::ExitedDeleting | State::Exited | State::ExitedGarbage
        )
    }
}
