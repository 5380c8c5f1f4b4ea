//! Two interfaces joined: what arrives at the one leaves through the other.
//!
//! Responsible for: the queueing disciplines and filters for it. Must not know: what the interfaces are. Follows tc-mirred(8) and
//! tc-matchall(8).
//!
//! A frame that is redirected where it arrives is never seen by the name space's own network stack. So the host answers no
//! request for the pod's addresses although the plugin's interface still has them.

use netlink::route::RouteNetlinkMessage;
use netlink::route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption, TcActionType,
    TcAttribute, TcFilterMatchAll, TcFilterMatchAllOption, TcHandle, TcMessage, TcMirror, TcMirrorActionType,
    TcOption,
};
use netlink::{Connection, NLM_F_CREATE, NLM_F_EXCL, NetlinkError};

/// The first and only filter.
const PRIORITY: u32 = 1;

/// `ETH_P_ALL` in the byte order of the wire.
const EVERY_PROTOCOL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Where arriving frames are filtered.
const INGRESS: TcHandle = TcHandle { major: u16::MAX, minor: 0 };

/// Joins the two interfaces of the connection's name space that have these numbers.
pub fn join(kernel: &mut Connection, one: u32, other: u32) -> Result<(), NetlinkError> {
    for index in [one, other] {
        let mut discipline = message(index);
        discipline.header.handle = INGRESS;
        discipline.header.parent = TcHandle::INGRESS;
        discipline.attributes.push(TcAttribute::Kind("ingress".to_owned()));
        add(kernel, RouteNetlinkMessage::NewQueueDiscipline(discipline))?;
    }
    for (from, to) in [(one, other), (other, one)] {
        let mut filter = message(from);
        filter.header.parent = INGRESS;
        filter.header.info = PRIORITY << 16 | u32::from(EVERY_PROTOCOL);
        let matching = TcFilterMatchAllOption::Action(vec![redirect(to)]);
        filter.attributes.push(TcAttribute::Kind(TcFilterMatchAll::KIND.to_owned()));
        filter.attributes.push(TcAttribute::Options(vec![TcOption::MatchAll(matching)]));
        add(kernel, RouteNetlinkMessage::NewTrafficFilter(filter))?;
    }
    Ok(())
}

fn message(index: u32) -> TcMessage {
    TcMessage::with_index(i32::try_from(index).unwrap_or(0))
}

fn add(kernel: &mut Connection, message: RouteNetlinkMessage) -> Result<(), NetlinkError> {
    kernel.change(message, NLM_F_CREATE | NLM_F_EXCL)
}

fn redirect(to: u32) -> TcAction {
    let mut parameters = TcMirror::default();
    parameters.generic.action = TcActionType::Stolen;
    parameters.eaction = TcMirrorActionType::EgressRedir;
    parameters.ifindex = to;
    let option = TcActionOption::Mirror(TcActionMirrorOption::Parms(parameters));
    let mut action = TcAction::default();
    action.attributes.push(TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()));
    action.attributes.push(TcActionAttribute::Options(vec![option]));
    action
}
