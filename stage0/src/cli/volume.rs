//! `--volume` and `--mount`.
//!
//! Responsible for: their two small grammars. Must not know: which app a mount belongs to. Follows
//! rkt-reference.md 1.4 and 1.5.

use std::borrow::Cow;

use appc::{AcName, Mount, Volume, VolumeKind};

/// `NAME,kind=host|empty[,source=ABS][,readOnly=B][,recursive=B][,mode=OCTAL][,uid=N][,gid=N]`. Values are literal.
pub fn parse_volume(text: &str) -> Result<Volume, String> {
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    let name: AcName = name.parse().map_err(|error| format!("{error}"))?;
    let mut volume = Volume {
        name,
        kind: VolumeKind::Host,
        source: None,
        read_only: None,
        recursive: None,
        mode: None,
        uid: None,
        gid: None,
    };
    let mut kind = None;
    let mut seen = Vec::new();
    for item in rest.split(',').filter(|_| !rest.is_empty()) {
        let Some((key, value)) = item.split_once('=') else {
            return Err(format!("missing '=' in volume parameter {item:?}"));
        };
        if seen.contains(&key) {
            return Err(format!("multiple {key:?} parameters in volume"));
        }
        seen.push(key);
        let number = |value: &str| {
            value.parse::<u32>().map_err(|_| format!("{key} of a volume must be a number, not {value:?}"))
        };
        match key {
            "kind" => {
                kind = Some(match value {
                    "host" => VolumeKind::Host,
                    "empty" => VolumeKind::Empty,
                    _ => return Err("unrecognized volume kind, should be one of host, empty".to_owned()),
                });
            }
            "source" => volume.source = Some(value.to_owned()),
            "readOnly" => volume.read_only = Some(super::values::parse_bool(value)?),
            "recursive" => volume.recursive = Some(super::values::parse_bool(value)?),
            "mode" => volume.mode = Some(value.to_owned()),
            "uid" => volume.uid = Some(number(value)?),
            "gid" => volume.gid = Some(number(value)?),
            _ => return Err(format!("unknown volume parameter {key:?}")),
        }
    }
    volume.kind = kind.ok_or("unrecognized volume kind, should be one of host, empty")?;
    if volume.kind == VolumeKind::Empty {
        volume.mode.get_or_insert_with(|| "0755".to_owned());
        volume.uid.get_or_insert(0);
        volume.gid.get_or_insert(0);
    }
    volume.validate().map_err(|error| error.to_string())?;
    Ok(volume)
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
