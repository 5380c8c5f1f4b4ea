//! The `rkt` group, whose members may look at pods and use the stores.
//!
//! Responsible for: its number. Must not know: who is in it. Follows rkt-reference.md 2.1 and group(5).

use std::path::Path;

const GROUP: &str = "rkt";

/// The group's number; `None` if this machine has no such group. Read from the file itself: a static executable
/// cannot load name service modules.
pub fn rkt_gid() -> Option<u32> {
    find(&std::fs::read_to_string(Path::new("/etc/group")).ok()?)
}

fn find(groups: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(GROUP)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nrkt-admin:x:900:\nrkt:x:901:alice,bob\n";

        assert_eq!(find(groups), Some(901));
        assert_eq!(find("root:x:0:\n"), None);
    }
}
