//! Users and groups as numbers.
//!
//! Responsible for: the four ways to name one, looked up in the app's own files. Must not know: the C library's name
//! services, which would look in PID 1's root. Follows rkt-reference 6.4, passwd(5) and group(5).

use std::path::Path;

use guest_api::AppSpec;
use rustix::io::Errno;

use super::root_dir::RootDir;
use crate::InitError;

/// Largest passwd or group file that is looked at; ten thousand entries take less.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// IDs a process runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Real, effective and saved user ID.
    pub uid: u32,
    /// Real, effective and saved group ID.
    pub gid: u32,
    /// Supplementary groups, exactly these.
    pub supplementary_gids: Vec<u32>,
}

impl Ids {
    /// Root's, in no other group.
    pub const ROOT: Self = Self { uid: 0, gid: 0, supplementary_gids: Vec::new() };
}

/// Finds the app's IDs.
pub fn resolve(root: &RootDir, app: &AppSpec) -> Result<Ids, InitError> {
    let user_error = |why| InitError::User { user: app.user.clone(), why };
    let uid = number_of(root, &app.user, &USER).map_err(user_error)?;
    let gid = match number_of(root, &app.group, &GROUP) {
        Ok(gid) => gid,
        Err(_) if app.group_falls_back_to_user => uid,
        Err(why) => return Err(InitError::Group { group: app.group.clone(), why }),
    };
    Ok(Ids { uid, gid, supplementary_gids: app.supplementary_gids.clone() })
}

struct Database {
    path: &'static str,
    noun: &'static str,
    owner: fn(&rustix::fs::Stat) -> u32,
}

const USER: Database = Database { path: "/etc/passwd", noun: "user", owner: |stat| stat.st_uid };
const GROUP: Database = Database { path: "/etc/group", noun: "group", owner: |stat| stat.st_gid };

/// The number `(uid_t) -1`, which the kernel's set*id calls take as "leave as it is".
const NO_ID: u32 = u32::MAX;

fn number_of(root: &RootDir, name: &str, database: &Database) -> Result<u32, String> {
    if name == "root" {
        return Ok(0);
    }
    if let Some(number) = number(name) {
        return Ok(number);
    }
    if name.starts_with('/') {
        return match root.lstat(Path::new(name)) {
            Ok(stat) => Ok((database.owner)(&stat)),
            Err(error) => Err(format!("cannot see who owns it: {error}")),
        };
    }
    let mut content = match root.read(Path::new(database.path), MAX_FILE_BYTES) {
        Ok(content) => content,
        Err(Errno::NOENT) => return Err(format!("the image has no {}", database.path)),
        Err(error) => return Err(format!("cannot read {}: {error}", database.path)),
    };
    let whole = content.len() < MAX_FILE_BYTES;
    if !whole {
        // Half a number is another number.
        let end = content.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        content.truncate(end);
    }
    let place = if whole { "" } else { "the first MiB of " };
    number_in(&content, name)
        .ok_or_else(|| format!("there is no {} of this name in {place}{}", database.noun, database.path))
}

/// The third field of the first line whose first field is `name`. passwd(5) and group(5) agree on that much.
pub fn number_in(content: &[u8], name: &str) -> Option<u32> {
    content.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let digits = (fields.next()? == name.as_bytes()).then(|| fields.nth(1))??;
        std::str::from_utf8(digits).ok().and_then(number)
    })
}

/// Decimal digits only: `parse` alone would take "+5".
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number != NO_ID)
}
