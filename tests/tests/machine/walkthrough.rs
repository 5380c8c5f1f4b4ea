//! The README's terminal session, typed into a real shell on a real terminal, so that a newcomer can repeat it.

use std::env;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rkt_tests::command::limit;
use rkt_tests::dist;
use rkt_tests::rkt::scratch;
use rkt_tests::terminal::Terminal;

/// The section of the README, and what its session is fenced by.
const SECTION: &str = "## A pod's life, step by step";
const FENCES: (&str, &str) = ("```console\n", "```");

/// Prompts: the host's and that of the shell in the app.
const PROMPTS: [&str; 2] = ["# ", "/ # "];

/// How long to wait before the shell is asked again. What is typed while a command ends on a terminal that is not its own any
/// more is lost, as it is for a person.
const PATIENCE: Duration = Duration::from_secs(4);

/// A command of the session, and what the README shows below it.
struct Step {
    command: String,
    shown: Vec<String>,
}

fn session() -> Vec<Step> {
    let readme = fs::read_to_string(dist::workspace().join("README.md")).expect("the README");
    let (_, section) = readme.split_once(SECTION).expect("the section");
    let (_, session) = section.split_once(FENCES.0).expect("a session");
    let (session, _) = session.split_once(FENCES.1).expect("the session's end");
    let mut steps: Vec<Step> = Vec::new();
    for line in session.lines() {
        match (PROMPTS.iter().find_map(|prompt| line.strip_prefix(prompt)), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
            (None, Some(step)) => step.shown.push(line.to_owned()),
            (None, None) => panic!("{line:?} stands before the first command"),
        }
    }
    steps
}

/// A shell with rkt on its path, on a terminal that it controls, and with an empty /var/lib/rkt.
fn shell(directory: &std::path::Path) -> Terminal {
    let script = "mount --bind \"$0\" /var/lib/rkt && exec setsid --ctty --wait bash --norc --noprofile";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(directory);
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = [dist::directory()].into_iter().chain(env::split_paths(&path));
    command.env("PATH", env::join_paths(directories).expect("a path without colons"));
    command.env("PS1", PROMPTS[0]).env("TERM", "dumb").current_dir(dist::workspace());
    Terminal::start(command)
}

/// Types a command, and whatever makes the shell say that it is done. Returns what was on the screen since, and the variable
/// `uuid` of the shell that answered.
#[track_caller]
fn carry_out(shell: &mut Terminal, number: usize, command: &str) -> (String, String) {
    let before = shell.screen().len();
    shell.type_line(command);
    let done = format!("done:{number}:");
    let deadline = Instant::now() + limit(60);
    loop {
        // The session may ask for the exit code of what it has just run.
        shell.type_line(&format!("code=$?; echo \"done\":{number}:$uuid:; (exit $code)"));
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            let screen = shell.screen();
            let since = screen.get(before..).unwrap_or_default();
            if let Some((said, answer)) = since.split_once(&done)
                && let Some((uuid, _)) = answer.split_once(':')
            {
                return (said.to_owned(), uuid.to_owned());
            }
            assert!(Instant::now() < deadline, "`{command}` is not done: {since}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The part of a line that is the same whenever the session is repeated: a key, a path without its number, or the first word.
fn constant_part(line: &str) -> &str {
    match line.split_once('=') {
        _ if line.starts_with('/') => line.trim_end_matches(|c: char| c.is_ascii_digit()),
        Some((key, _)) if !key.contains(char::is_whitespace) => line.get(..=key.len()).unwrap_or(line),
        _ => line.split_whitespace().next().unwrap_or_default(),
    }
}

#[test]
fn the_session_of_the_readme_works_as_it_is_written() {
    let directory = tempfile::tempdir_in(scratch()).expect("a directory");
    fs::create_dir_all("/var/lib/rkt").expect("rkt's directory");
    let steps = session();
    let readme_uuid = steps
        .iter()
        .flat_map(|step| &step.shown)
        .find_map(|line| line.strip_prefix('"')?.strip_suffix('"'))
        .expect("the README shows what `rkt stop` prints")
        .to_owned();
    let mut shell = shell(directory.path());

    let mut pod = String::new();
    for (number, step) in steps.iter().enumerate() {
        let (said, uuid) = carry_out(&mut shell, number, &step.command);
        if pod.is_empty() {
            pod = uuid;
        }
        for line in &step.shown {
            let line = line.replace(&readme_uuid, &pod).replace(&readme_uuid[..8], &pod[..8]);
            let constant = constant_part(&line);
            let found = said.lines().any(|said| said.starts_with(constant));
            assert!(found, "`{}` did not say {constant:?}: {said}", step.command);
        }
    }
    shell.type_line("exit");
    let (_, screen) = shell.finish();

    assert_eq!(pod.len(), 36, "{screen}");
    for state in ["run", "prepared", "exited-garbage", "garbage"] {
        let left = fs::read_dir(directory.path().join("pods").join(state)).map(Iterator::count);
        assert_eq!(left.unwrap_or(0), 0, "pods in {state}: {screen}");
    }
    let left = rkt_tests::leaks::of_pod(&pod);
    assert!(left.is_empty(), "left behind: {left:#?}");
}
