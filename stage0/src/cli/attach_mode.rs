//! `--mode` of `rkt attach`.
//!
//! Responsible for: its grammar, and how stage1 is told. Must not know: pods. Follows rkt-reference.md 4.7 and 7.6.

use std::ffi::OsString;

/// What to do with the endpoints of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// Print them.
    List,
    /// Attach to all there are.
    Auto,
    /// Attach to these.
    Custom(Endpoints),
}

/// Endpoints of an app, chosen one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Endpoints {
    tty_in: bool,
    tty_out: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl AttachMode {
    /// `list`, `auto` or nothing, or a list of endpoints.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "list" => return Ok(AttachMode::List),
            "auto" | "" => return Ok(AttachMode::Auto),
            _ => {}
        }
        let mut chosen = Endpoints::default();
        if text.split(',').all(str::is_empty) {
            return Err("mode must specify at least one endpoint to attach".to_owned());
        }
        for name in text.split(',') {
            match name {
                "tty" => (chosen.tty_in, chosen.tty_out) = (true, true),
                "tty-in" => chosen.tty_in = true,
                "tty-out" => chosen.tty_out = true,
                "stdin" => chosen.stdin = true,
                "stdout" => chosen.stdout = true,
                "stderr" => chosen.stderr = true,
                _ => return Err(format!("unknown endpoint {name:?}")),
            }
        }
        if (chosen.tty_in || chosen.tty_out) && (chosen.stdin || chosen.stdout || chosen.stderr) {
            return Err(format!(
                "incompatible endpoints {text:?}, cannot simultaneously attach TTY and streams"
            ));
        }
        Ok(AttachMode::Custom(chosen))
    }

    /// Arguments of the attach entrypoint.
    pub fn arguments(self, app: &str, debug: bool) -> Vec<OsString> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: &str| arguments.push(format!("--{name}={value}").into());
        match self {
            AttachMode::List => add("action", "list"),
            AttachMode::Auto => add("action", "auto-attach"),
            AttachMode::Custom(endpoints) => {
                add("action", "custom-attach");
                add("tty-in", word(endpoints.tty_in));
                add("tty-out", word(endpoints.tty_out));
                add("stdin", word(endpoints.stdin));
                add("stdout", word(endpoints.stdout));
                add("stderr", word(endpoints.stderr));
            }
        }
        add("app", app);
        add("debug", word(debug));
        arguments
    }
}

/// A truth value as stage1's programs take it.
pub const fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_a_terminal_or_streams_and_at_least_one() {
        let endpoints = |text| match AttachMode::parse(text) {
            Ok(AttachMode::Custom(endpoints)) => Ok(endpoints),
            Ok(other) => panic!("{text}: {other:?}"),
            Err(why) => Err(why),
        };
        let none = Endpoints::default();

        assert_eq!(AttachMode::parse("list"), Ok(AttachMode::List));
        assert_eq!(AttachMode::parse("auto"), AttachMode::parse(""));
        assert_eq!(endpoints("tty"), Ok(Endpoints { tty_in: true, tty_out: true, ..none }));
        assert_eq!(endpoints("stdin,stderr"), Ok(Endpoints { stdin: true, stderr: true, ..none }));
        assert_eq!(endpoints("x"), Err("unknown endpoint \"x\"".into()));
        assert_eq!(endpoints(","), Err("mode must specify at least one endpoint to attach".into()));
        let both = "incompatible endpoints \"tty-in,stdout\", cannot simultaneously attach TTY and streams";
        assert_eq!(endpoints("tty-in,stdout"), Err(both.into()));
    }

    #[test]
    fn endpoints_are_told_one_by_one_and_only_if_they_were_chosen_so() {
        let custom = AttachMode::parse("tty-out").unwrap().arguments("a", true);
        let auto = AttachMode::Auto.arguments("a", false);

        let flags = ["--tty-in=false", "--tty-out=true", "--stdin=false", "--stdout=false", "--stderr=false"];
        let expected = [&["--action=custom-attach"][..], &flags, &["--app=a", "--debug=true"]].concat();
        assert_eq!(custom, expected);
        assert_eq!(auto, ["--action=auto-attach", "--app=a", "--debug=false"]);
    }
}
