//! Two interfaces joined: what arrives at the one leaves through the other, if it may.
//!
//! Responsible for: the queueing disciplines and filters for it. Must not know: what the interfaces are, nor what may pass. Follows
//! tc-mirred(8) and tc-bpf(8), in its classic form.
//!
//! The filter that redirects is the one that decides: packet filters of the name space are not asked about a frame that is
//! redirected where it arrives. They are asked about one that is not, and drop it (`firewall`).
//!
//! A frame that is redirected where it arrives is never seen by the name space's own network stack. So the host answers no
//! request for the pod's addresses although the plugin's interface still has them.

use firewall::spoofing::Instruction;
use netlink::route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption, TcActionType,
    TcAttribute, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcMirror, TcMirrorActionType, TcOption,
};
use netlink::{Connection, DefaultNla, Discipline, Emitable, Filter, NLM_F_CREATE, NLM_F_EXCL, NetlinkError};

/// The first and only filter.
const PRIORITY: u32 = 1;

/// `ETH_P_ALL` in the byte order of the wire.
const EVERY_PROTOCOL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// Where arriving frames are filtered.
const INGRESS: TcHandle = TcHandle { major: u16::MAX, minor: 0 };

/// Attributes of the filter (linux/pkt_cls.h).
const TCA_BPF_ACT: u16 = 1;
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;

/// Joins the two interfaces of the connection's name space that have these numbers. What arrives at one of them passes if its program
/// says so; else it stays in the name space.
pub fn join(
    kernel: &mut Connection,
    outside: u32,
    inside: u32,
    from_inside: &[Instruction],
    from_outside: &[Instruction],
) -> Result<(), NetlinkError> {
    for index in [outside, inside] {
        let mut discipline = message(index);
        discipline.header.handle = INGRESS;
        discipline.header.parent = TcHandle::INGRESS;
        discipline.attributes.push(TcAttribute::Kind("ingress".to_owned()));
        kernel.change(&Discipline(discipline), NLM_F_CREATE | NLM_F_EXCL)?;
    }
    for (from, to, program) in [(outside, inside, from_outside), (inside, outside, from_inside)] {
        let mut filter = message(from);
        filter.header.parent = INGRESS;
        filter.header.info = PRIORITY << 16 | u32::from(EVERY_PROTOCOL);
        filter.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
        filter.attributes.push(TcAttribute::Options(options(program, &redirect(to))));
        kernel.change(&Filter(filter), NLM_F_CREATE | NLM_F_EXCL)?;
    }
    Ok(())
}

/// The library knows programs by descriptor only; classic ones are passed as they are.
fn options(program: &[Instruction], action: &TcAction) -> Vec<TcOption> {
    let mut actions = vec![0; action.buffer_len()];
    action.emit(&mut actions);
    let length = u16::try_from(program.len()).unwrap_or(u16::MAX).to_ne_bytes().to_vec();
    let instructions = program.iter().flat_map(Instruction::to_bytes).collect();
    [(TCA_BPF_ACT, actions), (TCA_BPF_OPS_LEN, length), (TCA_BPF_OPS, instructions)]
        .map(|(kind, value)| TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(kind, value))))
        .to_vec()
}

fn message(index: u32) -> TcMessage {
    TcMessage::with_index(i32::try_from(index).unwrap_or(0))
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
