use std::process::{Command, Stdio};

use super::evidence::{family, of};

#[test]
fn evidence_names_every_descendant_and_what_it_waits_in() {
    let mut shell =
        Command::new("sh").args(["-c", "sleep 600 & wait"]).stdin(Stdio::null()).spawn().expect("a shell");
    let pid = i32::try_from(shell.id()).expect("a process ID fits i32");
    let begun = || family(pid).len() == 2;
    while !begun() {
        std::thread::yield_now();
    }

    let text = of(pid);

    for child in family(pid).into_iter().skip(1) {
        assert!(text.contains(&format!("process {child}: ")), "{text}");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL).ok();
    }
    assert!(text.contains("a second later") && text.contains(": S user "), "{text}");
    shell.wait().expect("the shell ends with its child");
}
