use virtiofsd::fuse::Attr;

use super::set_id::mode_at_stake;

fn at_stake(mode: u32) -> Option<u32> {
    mode_at_stake(&Attr { mode, ..Attr::default() }).map(|mode| mode.bits())
}

#[test]
fn set_id_bits_of_programs_are_at_stake_and_nothing_else_is() {
    let (file, directory) = (libc::S_IFREG, libc::S_IFDIR);

    assert_eq!(at_stake(file | 0o4755), Some(0o4755));
    assert_eq!(at_stake(file | 0o2755), Some(0o2755));
    assert_eq!(at_stake(file | 0o4600), Some(0o4600));
    assert_eq!(at_stake(file | 0o1777), None);
    // Mandatory locking, once.
    assert_eq!(at_stake(file | 0o2644), None);
    assert_eq!(at_stake(directory | 0o6755), None);
}
