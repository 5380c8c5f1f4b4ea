//! Walls that a host may lack: a user of its own, a user name space, Landlock.
//!
//! Responsible for: putting each up around the calling process, which has one thread. Must not know: in which order, and what follows
//! from one that cannot be put up. Follows user_namespaces(7), credentials(7), landlock(7).

use std::io;
use std::os::fd::AsFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, LinkNameSpaceType, Uid, UnshareFlags};

use crate::users::Users;

/// The newest Landlock whose rights are used; older kernels leave out what they do not know.
const LANDLOCK: ABI = ABI::V6;

/// The first that knows of TCP ports.
const NETWORK_LANDLOCK: ABI = ABI::V4;

/// Becomes this user of the host, in that group alone, for good. Capabilities stay until they are given up, for what else there is to do.
pub fn become_user(user: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    let held = rustix::thread::capabilities(None)?;
    let sets = CapabilitySets {
        effective: held.permitted,
        permitted: held.permitted,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Leaves the host's user name space for one in which nobody is anybody: capabilities, should the process ever have one again, mean
/// nothing outside.
pub fn leave_user_namespace() -> io::Result<()> {
    // SAFETY: only CLONE_FILES, which is not among the flags, invalidates descriptors that others hold.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }?)
}

/// Enters these users' name space and becomes root there, with every capability there.
pub fn become_root_of(users: &Users) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(users.as_fd(), Some(LinkNameSpaceType::User))?;
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// What Landlock leaves to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No path, no TCP port.
    Nothing,
    /// No path, and connections to these TCP ports.
    Ports(Vec<u16>),
    /// All paths that it sees: what it sees is what it serves, and a look at each would cost every file operation. No TCP port, of which
    /// its network has none.
    Paths,
    /// No path but to make device nodes at, no TCP port.
    DeviceNodes,
}

/// Takes away, by Landlock, whatever is not in `reach`; and signals to, and abstract sockets of, other processes.
pub fn restrict(reach: &Reach) -> io::Result<()> {
    let needed = match reach {
        // In the host's network, where nothing else keeps a process from its ports.
        Reach::Ports(_) => NETWORK_LANDLOCK,
        // An old one may know nothing of what is taken away here, which is not there in the first place: see `Reach`.
        Reach::Nothing | Reach::Paths | Reach::DeviceNodes => ABI::V1,
    };
    match restricted(reach).map_err(io::Error::other)? {
        LandlockStatus::Available { effective_abi, .. } if effective_abi >= needed => Ok(()),
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
}

fn restricted(reach: &Reach) -> Result<LandlockStatus, RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?;
    let mut rules = match reach {
        Reach::Paths => rules,
        Reach::Nothing | Reach::Ports(_) => rules.handle_access(AccessFs::from_all(LANDLOCK))?,
        Reach::DeviceNodes => {
            let nodes = AccessFs::MakeChar | AccessFs::MakeBlock;
            rules.handle_access(AccessFs::from_all(LANDLOCK) & !nodes)?
        }
    }
    .create()?;
    if let Reach::Ports(ports) = reach {
        for port in ports {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(rules.restrict_self()?.landlock)
}
