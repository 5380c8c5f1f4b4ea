//! Parsers of single option values, with the grammar and the messages of Go's flag packages.
//!
//! Responsible for: booleans, durations, absolute directories, `K=V`. Must not know: which option a value belongs to.
//! Follows rkt-reference.md 1.2 and 1.3.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

/// A duration as Go writes it (`1h30m`, `300ms`, `-1s`); `None` is a negative one.
pub fn parse_duration(text: &str) -> Result<Option<Duration>, String> {
    let invalid = || format!("time: invalid duration {text}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Some(Duration::ZERO));
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("time: missing unit in duration {text}"))?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(format!("time: unknown unit {unit} in duration {text}")),
        };
        seconds += number * scale;
        rest = tail;
    }
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| invalid())?;
    Ok((!negative || duration.is_zero()).then_some(duration))
}

/// A period that has to be over: one that is negative always is.
pub fn parse_period(text: &str) -> Result<Duration, String> {
    Ok(parse_duration(text)?.unwrap_or_default())
}

/// A directory made absolute, its symlinks evaluated as far as they exist.
pub fn parse_directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("\"\" is not a valid directory".to_owned());
    }
    let absolute = std::path::absolute(text).map_err(|error| error.to_string())?;
    resolve(&absolute)
}

/// Resolves the longest existing ancestor and keeps the rest as it is: the directory may be created later.
pub fn resolve(path: &Path) -> Result<PathBuf, String> {
    match path.canonicalize() {
        Ok(resolved) if resolved.is_dir() => Ok(resolved),
        Ok(_) => Err(format!("path \"{}\" is not a directory", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match (path.parent(), path.file_name())
        {
            (Some(parent), Some(name)) => Ok(resolve(parent)?.join(name)),
            _ => Err(error.to_string()),
        },
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Splits `K=V`; `flag` is the option the message names.
pub fn parse_pair(flag: &str, text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("invalid format of --{flag} flag {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_grammar_of_go() {
        let cases = [
            ("30m", Ok(Some(Duration::from_secs(1800)))),
            ("1h30m5s", Ok(Some(Duration::from_secs(5405)))),
            ("1.5s", Ok(Some(Duration::from_millis(1500)))),
            ("250ms", Ok(Some(Duration::from_millis(250)))),
            ("0", Ok(Some(Duration::ZERO))),
            ("-1s", Ok(None)),
            ("10", Err("time: missing unit in duration 10".to_owned())),
            ("5d", Err("time: unknown unit d in duration 5d".to_owned())),
            ("", Err("time: invalid duration ".to_owned())),
        ];

        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn directories_become_absolute_even_when_they_do_not_exist_yet() {
        let directory = parse_directory("does/not/exist").unwrap();

        assert!(directory.is_absolute());
        assert!(directory.ends_with("does/not/exist"));
    }

    #[test]
    fn an_empty_directory_is_refused() {
        assert!(parse_directory("").is_err());
    }

    #[test]
    fn a_file_is_not_a_directory() {
        assert!(parse_directory("/proc/self/status").is_err());
    }
}
