use rustix::thread::CapabilitySet;

use super::file_server::CAPABILITIES;

#[test]
fn file_server_keeps_no_capability_that_leads_out_of_its_tree() {
    let ways_out = [
        // open_by_handle_at(2)
        CapabilitySet::DAC_READ_SEARCH,
        CapabilitySet::SYS_ADMIN,
        CapabilitySet::SYS_CHROOT,
        CapabilitySet::SYS_PTRACE,
        CapabilitySet::SYS_RAWIO,
        CapabilitySet::KILL,
    ];

    let kept: Vec<_> = ways_out.into_iter().filter(|way| CAPABILITIES.contains(*way)).collect();

    assert_eq!(kept, []);
}
