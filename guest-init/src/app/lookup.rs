//! Finding an app's program, and saying why it does not run.
//!
//! Responsible for: the search rkt does, inside the app's root, and a diagnosis that names the path at fault. Must not
//! know: how a process is made. Follows rkt-reference 6.2, elf(5) and execve(2).

use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::root_dir::RootDir;
use crate::InitError;

/// Searched, after the working directory, for an app without a PATH of its own.
const FALLBACK_PATH: &str = "/bin:/usr/bin";

/// Enough of a program to see its interpreter; linkers put the program headers and PT_INTERP within the first page.
const HEAD_BYTES: usize = 64 * 1024;

const EXECUTE_BITS: u32 = 0o111;

/// What is to be executed.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Program and arguments.
    pub words: &'a [String],
    /// All of it.
    pub environment: &'a [(String, String)],
    /// Absolute path inside the app's root.
    pub working_directory: &'a str,
}

/// The path of a program inside the app's root. An absolute one is taken as it is; execve(2) is the judge of it.
pub fn find(root: &RootDir, command: Command<'_>) -> Result<String, InitError> {
    let program = command.words.first().filter(|program| !program.is_empty()).ok_or(InitError::EmptyExec)?;
    if program.starts_with('/') {
        return Ok(program.clone());
    }
    if program.contains('/') {
        return Ok(join(command.working_directory, program));
    }
    let searched = match command.environment.iter().find(|(name, _)| name == "PATH") {
        Some((_, path)) => path.clone(),
        None => format!("{}:{FALLBACK_PATH}", command.working_directory),
    };
    let mut not_executable = None;
    for directory in searched.split(':') {
        let candidate = join(&join(command.working_directory, directory), program);
        let Ok(stat) = root.stat(Path::new(&candidate)) else { continue };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            continue;
        }
        if stat.st_mode & EXECUTE_BITS != 0 {
            return Ok(candidate);
        }
        not_executable.get_or_insert(candidate);
    }
    Err(match not_executable {
        Some(path) => InitError::Exec { why: explain(root, &path, Errno::ACCESS), path },
        None => InitError::ProgramNotFound { program: program.clone(), searched },
    })
}

/// Why execve(2) refused `path` with `error`.
pub fn explain(root: &RootDir, path: &str, error: Errno) -> String {
    let stat = match root.stat(Path::new(path)) {
        Ok(stat) => stat,
        Err(Errno::NOENT) if root.lstat(Path::new(path)).is_ok() => {
            return "it is a symbolic link to nowhere".to_owned();
        }
        Err(error) => return error.to_string(),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return "it is a directory".to_owned(),
        _ => return "it is not a regular file".to_owned(),
    }
    if stat.st_mode & EXECUTE_BITS == 0 {
        return format!("it is not executable (mode {:04o})", stat.st_mode & 0o7777);
    }
    let Ok(head) = root.read(Path::new(path), HEAD_BYTES) else { return error.to_string() };
    match identify(&head) {
        Program::Script { interpreter } if interpreter.is_empty() => {
            "it is a script whose first line names no interpreter".to_owned()
        }
        Program::Script { interpreter } => missing(root, "script interpreter", &interpreter, error),
        Program::Elf { interpreter: Some(interpreter) } => {
            missing(root, "ELF interpreter (dynamic loader)", &interpreter, error)
        }
        Program::Elf { interpreter: None } => error.to_string(),
        Program::ForeignElf => "it is a program for another processor; this VM runs x86-64".to_owned(),
        Program::Unknown => "it is neither an ELF program nor a script that names its interpreter".to_owned(),
    }
}

fn missing(root: &RootDir, noun: &str, interpreter: &str, error: Errno) -> String {
    match root.stat(Path::new(interpreter)) {
        Err(Errno::NOENT) => format!("its {noun} {interpreter:?} is missing"),
        Err(why) => format!("its {noun} {interpreter:?} cannot be used: {why}"),
        Ok(stat) if stat.st_mode & EXECUTE_BITS == 0 => {
            format!("its {noun} {interpreter:?} is not executable")
        }
        Ok(_) => error.to_string(),
    }
}

/// `path` as seen from `directory`; absolute paths stay what they are.
fn join(directory: &str, path: &str) -> String {
    match (path.is_empty(), path.starts_with('/')) {
        (true, _) => directory.to_owned(),
        (false, true) => path.to_owned(),
        (false, false) => format!("{}/{path}", directory.trim_end_matches('/')),
    }
}

/// What the kernel would make of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Starts with `#!`.
    Script {
        /// The path behind it; empty if there is none.
        interpreter: String,
    },
    /// A 64-bit x86 program.
    Elf {
        /// Its dynamic loader, if it has one.
        interpreter: Option<String>,
    },
    /// A program this machine does not run.
    ForeignElf,
    /// Something else.
    Unknown,
}

/// Looks at the first bytes of a file.
pub fn identify(head: &[u8]) -> Program {
    const ELFCLASS64: u8 = 2;
    const EM_X86_64: u16 = 62;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        return Program::Script {
            interpreter: line.split_ascii_whitespace().next().unwrap_or_default().to_owned(),
        };
    }
    if !head.starts_with(b"\x7fELF") {
        return Program::Unknown;
    }
    let native = head.get(4) == Some(&ELFCLASS64) && half(head, 18) == Some(EM_X86_64);
    if native { Program::Elf { interpreter: interpreter(head) } } else { Program::ForeignElf }
}

/// The path in the PT_INTERP segment of a 64-bit little-endian ELF file.
fn interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    let table = word(head, 32)?;
    let entry_size = usize::from(half(head, 54)?);
    let entries = usize::from(half(head, 56)?);
    let segment = (0..entries)
        .filter_map(|index| head.get(table.checked_add(index.checked_mul(entry_size)?)?..))
        .find(|entry| entry.first_chunk().map(|kind| u32::from_le_bytes(*kind)) == Some(PT_INTERP))?;
    let path = head.get(word(segment, 8)?..)?.get(..word(segment, 32)?)?;
    let path = path.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(path).into_owned())
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], offset: usize) -> Option<usize> {
    let value = u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?);
    usize::try_from(value).ok()
}
