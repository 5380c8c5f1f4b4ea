//! `--volume`, `--mount` and `--mnt-volume`.
//!
//! Responsible for: their small grammars. Must not know: which app a mount belongs to. Follows
//! rkt-reference.md 1.4 and 1.5.

use std::borrow::Cow;

use appc::{AcName, Mount, Volume, VolumeKind};

/// `NAME,kind=host|empty[,source=ABS][,readOnly=B][,recursive=B][,mode=OCTAL][,uid=N][,gid=N]`. Values are literal.
pub fn parse_volume(text: &str) -> Result<Volume, String> {
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    let mut draft = Draft::default();
    for item in rest.split(',').filter(|_| !rest.is_empty()) {
        let Some((key, value)) = item.split_once('=') else {
            return Err(format!("missing '=' in volume parameter {item:?}"));
        };
        draft.set(key, value)?;
    }
    draft.finish(name)
}

/// What is known of a volume while its parameters are read.
#[derive(Default)]
struct Draft {
    seen: Vec<String>,
    kind: Option<VolumeKind>,
    source: Option<String>,
    read_only: Option<bool>,
    recursive: Option<bool>,
    mode: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Draft {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if self.seen.iter().any(|seen| seen == key) {
            return Err(format!("multiple {key:?} parameters in volume"));
        }
        self.seen.push(key.to_owned());
        let number = |value: &str| {
            value.parse::<u32>().map_err(|_| format!("{key} of a volume must be a number, not {value:?}"))
        };
        match key {
            "kind" => {
                self.kind = Some(match value {
                    "host" => VolumeKind::Host,
                    "empty" => VolumeKind::Empty,
                    _ => return Err("unrecognized volume kind, should be one of host, empty".to_owned()),
                });
            }
            "source" => self.source = Some(value.to_owned()),
            "readOnly" => self.read_only = Some(super::values::parse_bool(value)?),
            "recursive" => self.recursive = Some(super::values::parse_bool(value)?),
            "mode" => self.mode = Some(value.to_owned()),
            "uid" => self.uid = Some(number(value)?),
            "gid" => self.gid = Some(number(value)?),
            _ => return Err(format!("unknown volume parameter {key:?}")),
        }
        Ok(())
    }

    fn finish(self, name: &str) -> Result<Volume, String> {
        let kind = self.kind.ok_or("unrecognized volume kind, should be one of host, empty")?;
        let mut volume = Volume {
            name: name.parse::<AcName>().map_err(|error| error.to_string())?,
            kind,
            source: self.source,
            read_only: self.read_only,
            recursive: self.recursive,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
        };
        if volume.kind == VolumeKind::Empty {
            volume.mode.get_or_insert_with(|| "0755".to_owned());
            volume.uid.get_or_insert(0);
            volume.gid.get_or_insert(0);
        }
        volume.validate().map_err(|error| error.to_string())?;
        Ok(volume)
    }
}

/// `name=NAME,kind=host|empty,target=PATH` and the parameters of a volume, decoded as a URL query after `,` became `&`: a volume
/// of the app's own and the mount of it.
pub fn parse_mount_volume(text: &str) -> Result<Mount, String> {
    let (mut name, mut target) = (None, None);
    let mut draft = Draft::default();
    let query = text.replace(',', "&");
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let slot = match key.as_ref() {
            "name" => &mut name,
            "target" => &mut target,
            key => {
                draft.set(key, &value)?;
                continue;
            }
        };
        if slot.replace(value).is_some() {
            return Err(format!("multiple {key:?} parameters in volume"));
        }
    }
    let volume = draft.finish(&name.unwrap_or_default())?;
    match target {
        Some(target) if !target.is_empty() => {
            Ok(Mount { volume: volume.name.clone(), path: target.into_owned(), app_volume: Some(volume) })
        }
        _ => Err("path not specified".to_owned()),
    }
}

/// `volume=NAME,target=PATH`, decoded as a URL query after `,` became `&`.
pub fn parse_mount(text: &str) -> Result<Mount, String> {
    let (mut volume, mut target) = (None, None);
    let query = text.replace(',', "&");
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let slot: &mut Option<Cow<'_, str>> = match key.as_ref() {
            "volume" => &mut volume,
            "target" => &mut target,
            _ => return Err(format!("unknown mount parameter {key:?}")),
        };
        if slot.replace(value).is_some() {
            return Err(format!("multiple {key:?} parameters in mount"));
        }
    }
    let volume: AcName = volume.unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
    match target {
        Some(target) if !target.is_empty() => {
            Ok(Mount { volume, path: target.into_owned(), app_volume: None })
        }
        _ => Err("path not specified".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_volume_keeps_its_source_literally() {
        let volume = parse_volume("data,kind=host,source=/srv/a%20b,readOnly=true").unwrap();

        assert_eq!(volume.source.as_deref(), Some("/srv/a%20b"));
        assert_eq!(volume.read_only, Some(true));
    }

    #[test]
    fn empty_volume_gets_default_mode_and_owner() {
        let volume = parse_volume("tmp,kind=empty").unwrap();

        assert_eq!(volume.mode.as_deref(), Some("0755"));
        assert_eq!((volume.uid, volume.gid), (Some(0), Some(0)));
    }

    #[test]
    fn contradictions_in_a_volume_are_refused() {
        let cases = [
            "data",
            "data,kind=tape",
            "data,kind=host",
            "data,kind=host,source=relative",
            "data,kind=empty,source=/srv",
            "data,kind=host,source=/srv,mode=0700",
            "data,kind=host,kind=host,source=/srv",
            "data,kind=host,source",
            "Data,kind=empty",
        ];

        for case in cases {
            assert!(parse_volume(case).is_err(), "{case}");
        }
        assert_eq!(
            parse_volume("data,kind=empty,colour=red").unwrap_err(),
            "unknown volume parameter \"colour\""
        );
    }

    #[test]
    fn a_mount_can_bring_its_volume_along() {
        let mount =
            parse_mount_volume("name=data,kind=host,source=/srv/a%20b,target=/d,readOnly=true").unwrap();
        let empty = parse_mount_volume("target=/tmp,kind=empty,name=t,mode=0700,uid=1,gid=2").unwrap();

        let volume = mount.app_volume.unwrap();
        assert_eq!((mount.volume.as_str(), mount.path.as_str()), ("data", "/d"));
        assert_eq!((volume.source.as_deref(), volume.read_only), (Some("/srv/a b"), Some(true)));
        let volume = empty.app_volume.unwrap();
        assert_eq!((volume.mode.as_deref(), volume.uid, volume.gid), (Some("0700"), Some(1), Some(2)));
        for (text, why) in [
            ("kind=empty,target=/d", "invalid AC name"),
            ("name=a,kind=empty", "path not specified"),
            ("name=a,target=/d", "unrecognized volume kind"),
            ("name=a,name=b,kind=empty,target=/d", "multiple \"name\" parameters in volume"),
            ("name=a,kind=empty,target=/d,colour=red", "unknown volume parameter \"colour\""),
        ] {
            let error = parse_mount_volume(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn mount_is_decoded_like_a_url_query() {
        let mount = parse_mount("volume=data,target=/a%2Cb+c").unwrap();

        assert_eq!(mount.path, "/a,b c");
        assert_eq!(mount.volume.as_str(), "data");
    }

    #[test]
    fn mount_needs_a_volume_and_a_target_and_nothing_else() {
        assert!(parse_mount("volume=data").is_err());
        assert!(parse_mount("target=/x").is_err());
        assert_eq!(
            parse_mount("volume=data,target=/x,readOnly=true").unwrap_err(),
            "unknown mount parameter \"readOnly\""
        );
    }
}
