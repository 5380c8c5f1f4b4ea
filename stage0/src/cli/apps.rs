//! The image list grammar of `run`, `prepare` and `fetch`: images, flags between them, app arguments.
//!
//! Responsible for: splitting what follows the first non-flag into pod flags and apps. Must not know: what any flag
//! means. Follows rkt-reference.md 1.3, `parseApps`.
//!
//! clap cannot express this grammar: pod flags and per-app flags mix behind the first image, and what stands between
//! `--` and `---` is opaque. So clap's definitions are only looked up here, to learn whose a flag is and whether
//! it takes a value; the pieces are then parsed by clap, each by the command that owns it.

use appc::Mount;
use clap::{Arg, Command, CommandFactory, Parser};

use super::app_flags::AppFlags;
use super::definition::takes_next_word;

/// What a command accepts behind its first image.
pub struct Grammar<'a> {
    /// The command with its own and the global flags.
    pub command: &'a Command,
    /// Whether it knows the per-app flag of a name.
    pub takes_app_flag: &'a dyn Fn(&str) -> bool,
    /// Whether `--` may introduce arguments of an app.
    pub app_arguments: bool,
    /// Words before the first image that are none.
    pub operands: usize,
}

/// One image and what was said about it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppArguments {
    /// The image as the user wrote it.
    pub image: String,
    /// Arguments appended to the app's command.
    pub arguments: Vec<String>,
    /// Flags that followed the image.
    pub flags: AppFlags,
}

/// The parsed list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppList {
    /// What stood before the first image.
    pub operands: Vec<String>,
    /// Flags of the pod, in order, each as one `--name=value` or `--name` token.
    pub pod_tokens: Vec<String>,
    /// Mounts named before the first image: they apply to every app.
    pub mounts: Vec<Mount>,
    /// The images in order.
    pub apps: Vec<AppArguments>,
}

/// Where a flag belongs.
enum Owner {
    Pod,
    App,
}

#[derive(Default)]
struct Draft {
    image: String,
    arguments: Option<Vec<String>>,
    tokens: Vec<String>,
}

impl Grammar<'_> {
    /// Parses the tokens from the first one that clap did not take.
    pub fn parse(&self, tokens: &[String]) -> Result<AppList, String> {
        let mut list = AppList::default();
        let mut drafts: Vec<Draft> = Vec::new();
        // Empty tokens are skipped everywhere, app arguments included (a quirk that scripts rely on).
        let mut tokens = tokens.iter().filter(|token| !token.is_empty());
        while let Some(token) = tokens.next() {
            match token.as_str() {
                "--" => {
                    let draft = self.expect_arguments(drafts.last_mut())?;
                    draft.arguments =
                        Some(tokens.by_ref().take_while(|token| *token != "---").cloned().collect());
                }
                "---" => {}
                flag if flag.starts_with('-') && flag.len() > 1 => {
                    let (owner, name, flag) = self.flag(flag, &mut tokens)?;
                    match (owner, drafts.last_mut()) {
                        (Owner::Pod, _) => list.pod_tokens.push(flag),
                        (Owner::App, Some(draft)) => draft.tokens.push(flag),
                        (Owner::App, None) if name == "mount" => {
                            list.mounts.extend(parse_app_flags(&[flag])?.mount);
                        }
                        (Owner::App, None) => return Err(format!("--{name} must follow an image")),
                    }
                }
                operand if list.operands.len() < self.operands => list.operands.push(operand.to_owned()),
                image => drafts.push(Draft { image: image.to_owned(), ..Draft::default() }),
            }
        }
        for draft in drafts {
            list.apps.push(AppArguments {
                image: draft.image,
                arguments: draft.arguments.unwrap_or_default(),
                flags: parse_app_flags(&draft.tokens)?,
            });
        }
        Ok(list)
    }

    fn expect_arguments<'d>(&self, draft: Option<&'d mut Draft>) -> Result<&'d mut Draft, String> {
        if !self.app_arguments {
            return Err("app arguments unsupported".to_owned());
        }
        match draft {
            None => Err("an image is required before any app arguments".to_owned()),
            Some(draft) if draft.arguments.is_some() => {
                Err("only one set of app arguments allowed per image".to_owned())
            }
            Some(draft) => Ok(draft),
        }
    }

    /// Reads one flag with its value, wherever that stands, and joins the two into one token.
    fn flag<'t>(
        &self,
        token: &str,
        rest: &mut impl Iterator<Item = &'t String>,
    ) -> Result<(Owner, String, String), String> {
        if token == "-h" {
            return Ok((Owner::Pod, "help".to_owned(), token.to_owned()));
        }
        let Some(body) = token.strip_prefix("--") else {
            return Err(format!("unknown shorthand flag: '{}' in {token}", token.trim_start_matches('-')));
        };
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let app_command = AppFlags::command();
        let (owner, needs_value) = match (self.app_flag(&app_command, name), find(self.command, name)) {
            (Some(arg), _) => (Owner::App, takes_next_word(arg)),
            (None, Some(arg)) => (Owner::Pod, takes_next_word(arg)),
            (None, None) => return Err(format!("unknown flag: --{name}")),
        };
        let joined = match value {
            Some(_) => token.to_owned(),
            None if needs_value => {
                let value = rest.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?;
                format!("--{name}={value}")
            }
            None => token.to_owned(),
        };
        Ok((owner, name.to_owned(), joined))
    }

    fn app_flag<'c>(&self, command: &'c Command, name: &str) -> Option<&'c Arg> {
        if (self.takes_app_flag)(name) { find(command, name) } else { None }
    }
}

fn find<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

fn parse_app_flags(tokens: &[String]) -> Result<AppFlags, String> {
    let mut flags = AppFlags::try_parse_from(tokens).map_err(|error| super::usage::describe(&error))?;
    flags.check()?;
    Ok(flags)
}
