use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use guest_api::{AppId, AppSpec};
use proptest::prelude::*;
use rustix::io::Errno;

use super::lookup::{Command, Program, explain, identify};
use super::root_dir::RootDir;

struct Image {
    directory: tempfile::TempDir,
    root: RootDir,
}

impl Image {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = RootDir::open(directory.path()).unwrap();
        Self { directory, root }
    }

    fn file(&self, path: &str, mode: u32, content: &[u8]) {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn explain(&self, path: &str) -> String {
        explain(&self.root, path, Errno::NOENT)
    }
}

fn find(root: &RootDir, app: &AppSpec) -> Result<String, crate::InitError> {
    let command = Command {
        words: &app.exec,
        environment: &app.environment,
        working_directory: &app.working_directory,
    };
    super::lookup::find(root, command)
}

fn app(program: &str, path: Option<&str>) -> AppSpec {
    AppSpec {
        id: AppId(0),
        name: "app".to_owned(),
        rootfs: "apps/app".to_owned(),
        read_only_rootfs: false,
        exec: vec![program.to_owned()],
        environment: path.map(|path| ("PATH".to_owned(), path.to_owned())).into_iter().collect(),
        working_directory: "/work".to_owned(),
        user: "root".to_owned(),
        group: "root".to_owned(),
        group_falls_back_to_user: false,
        supplementary_gids: Vec::new(),
        mounts: Vec::new(),
        files: Vec::new(),
        stdio: guest_api::Stdio::LOG,
        isolation: guest_api::Isolation::NONE,
        lifecycle: guest_api::Lifecycle::default(),
        sockets: Vec::new(),
    }
}

/// A 64-bit ELF file with one program header, as far as anybody looks.
fn elf(interpreter: Option<&str>) -> Vec<u8> {
    let mut file = vec![0; 64 + 56];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62;
    file[32] = 64;
    file[54] = 56;
    file[56] = 1;
    if let Some(interpreter) = interpreter {
        file[64] = 3;
        file[64 + 8] = 120;
        file[64 + 32] = u8::try_from(interpreter.len() + 1).unwrap();
        file.extend_from_slice(interpreter.as_bytes());
        file.push(0);
    }
    file
}

#[test]
fn absolute_program_is_taken_as_it_is() {
    let image = Image::new();

    assert_eq!(find(&image.root, &app("/not/there", None)).unwrap(), "/not/there");
}

#[test]
fn program_with_a_slash_is_relative_to_the_working_directory() {
    let image = Image::new();

    assert_eq!(find(&image.root, &app("bin/tool", Some("/bin"))).unwrap(), "/work/bin/tool");
}

#[test]
fn bare_name_is_found_in_the_first_path_entry_that_has_it_executable() {
    let image = Image::new();
    image.file("a/tool", 0o644, b"");
    image.file("b/tool", 0o755, b"");
    image.file("c/tool", 0o755, b"");
    std::fs::create_dir_all(image.directory.path().join("0/tool")).unwrap();

    assert_eq!(find(&image.root, &app("tool", Some("/0:/a:/b:/c"))).unwrap(), "/b/tool");
}

#[test]
fn relative_path_entries_start_at_the_working_directory() {
    let image = Image::new();
    image.file("work/bin/tool", 0o755, b"");

    assert_eq!(find(&image.root, &app("tool", Some("/bin:bin"))).unwrap(), "/work/bin/tool");
}

#[test]
fn app_without_a_path_is_searched_in_its_working_directory_bin_and_usr_bin() {
    let image = Image::new();
    image.file("usr/bin/tool", 0o755, b"");

    assert_eq!(find(&image.root, &app("tool", None)).unwrap(), "/usr/bin/tool");
    image.file("work/tool", 0o755, b"");
    assert_eq!(find(&image.root, &app("tool", None)).unwrap(), "/work/tool");
}

#[test]
fn link_in_the_path_is_followed_inside_the_root() {
    let image = Image::new();
    image.file("usr/bin/real", 0o755, b"");
    std::fs::create_dir(image.directory.path().join("bin")).unwrap();
    symlink("/usr/bin/real", image.directory.path().join("bin/tool")).unwrap();

    assert_eq!(find(&image.root, &app("tool", Some("/bin"))).unwrap(), "/bin/tool");
}

#[test]
fn missing_program_is_reported_with_where_it_was_searched() {
    let image = Image::new();

    let error = find(&image.root, &app("tool", Some("/bin:/sbin"))).unwrap_err();

    assert_eq!(error.to_string(), "error looking up \"tool\": unable to find \"tool\" in \"/bin:/sbin\"");
}

#[test]
fn program_that_is_found_but_not_executable_is_named() {
    let image = Image::new();
    image.file("bin/tool", 0o644, b"");

    let error = find(&image.root, &app("tool", Some("/bin"))).unwrap_err();

    assert_eq!(error.to_string(), "cannot execute \"/bin/tool\": it is not executable (mode 0644)");
}

#[test]
fn empty_exec_is_an_error() {
    let image = Image::new();
    let mut spec = app("", None);

    assert!(find(&image.root, &spec).is_err());
    spec.exec.clear();
    assert!(find(&image.root, &spec).is_err());
}

#[test]
fn reasons_say_what_is_wrong_with_the_file() {
    let image = Image::new();
    image.file("plain", 0o755, b"hello\n");
    image.file("dir/x", 0o755, b"");
    image.file("bare-script", 0o755, b"#!\n");
    image.file("script", 0o755, b"#! /usr/bin/perl -w\nprint 1\n");
    image.file("dynamic", 0o755, &elf(Some("/lib64/ld.so")));
    symlink("gone", image.directory.path().join("dangling")).unwrap();

    for (path, reason) in [
        ("/plain", "it is neither an ELF program nor a script that names its interpreter"),
        ("/dir", "it is a directory"),
        ("/dangling", "it is a symbolic link to nowhere"),
        ("/bare-script", "it is a script whose first line names no interpreter"),
        ("/script", "its script interpreter \"/usr/bin/perl\" is missing"),
        ("/dynamic", "its ELF interpreter (dynamic loader) \"/lib64/ld.so\" is missing"),
    ] {
        assert_eq!(image.explain(path), reason, "{path}");
    }
    assert!(image.explain("/gone").starts_with("No such file or directory"));
}

#[test]
fn interpreter_that_is_there_is_not_blamed() {
    let image = Image::new();
    image.file("dynamic", 0o755, &elf(Some("/ld.so")));
    image.file("ld.so", 0o755, b"");

    let reason = explain(&image.root, "/dynamic", Errno::NOEXEC);

    assert_eq!(reason, Errno::NOEXEC.to_string());
}

#[test]
fn programs_are_told_apart_by_their_first_bytes() {
    let mut foreign = elf(None);
    foreign[18] = 183;

    assert_eq!(identify(&elf(None)), Program::Elf { interpreter: None });
    assert_eq!(identify(&foreign), Program::ForeignElf);
    assert_eq!(identify(b""), Program::Unknown);
    assert_eq!(identify(b"#!/bin/sh"), Program::Script { interpreter: "/bin/sh".to_owned() });
}

#[test]
fn this_very_test_program_has_the_interpreter_the_linker_gave_it() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();

    let Program::Elf { interpreter: Some(interpreter) } = identify(&program[..65536]) else { panic!() };

    assert!(Path::new(&interpreter).exists(), "{interpreter}");
}

proptest! {
    #[test]
    fn no_file_content_panics(mut head in proptest::collection::vec(any::<u8>(), 0..256)) {
        identify(&head);
        let magic = b"\x7fELF\x02\x01";
        let length = head.len().min(magic.len());
        head[..length].copy_from_slice(&magic[..length]);
        if let Some(machine) = head.get_mut(18..20) {
            machine.copy_from_slice(&[62, 0]);
        }
        identify(&head);
    }
}
