//! Volumes: host directories and files, read-write and read-only, and empty ones that apps share.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use serde_json::json;

use crate::pod::{INSPECT, Pod, fresh_path, image_id, said, shell_app};

/// A directory on the host with the file `greeting` in it.
fn host_directory() -> PathBuf {
    let path = fresh_path("volume");
    fs::create_dir(&path).expect("creating");
    fs::write(path.join("greeting"), "from the host\n").expect("writing");
    path
}

#[test]
fn a_host_volume_is_read_and_written_by_the_app() {
    let directory = host_directory();
    let volume = format!("--volume=v,kind=host,source={}", directory.display());
    let steps = ["--", "read-file", "/mnt/greeting", "write-file", "/mnt/answer", "from the pod"];

    let output = Pod::start(&[&[&volume, INSPECT, "--mount=volume=v,target=/mnt"], &steps[..]].concat())
        .finish()
        .expect_code(0);

    assert_eq!(said(&output.stdout, "inspect")[0], "from the host");
    assert_eq!(fs::read_to_string(directory.join("answer")).expect("the app's file"), "from the pod");
}

#[test]
fn a_read_only_host_volume_cannot_be_written() {
    let directory = host_directory();
    let volume = format!("--volume=v,kind=host,readOnly=true,source={}", directory.display());
    let steps = ["--", "read-file", "/mnt/greeting", "write-file", "/mnt/answer", "from the pod"];

    let output =
        Pod::start(&[&[&volume, INSPECT, "--mount=volume=v,target=/mnt"], &steps[..]].concat()).finish();

    output.expect_code(120).expect_out("from the host").expect_err("Read-only file system");
    assert!(!directory.join("answer").exists());
}

#[test]
fn what_an_app_writes_as_a_user_belongs_to_that_user_on_the_host() {
    let directory = host_directory();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("chmod");
    let volume = format!("--volume=v,kind=host,source={}", directory.display());
    let flags = ["--mount=volume=v,target=/mnt", "--user=1234", "--group=4321"];

    Pod::start(&[&[&volume, INSPECT], &flags[..], &["--", "write-file", "/mnt/mine", "x"]].concat())
        .finish()
        .expect_code(0);

    let file = fs::metadata(directory.join("mine")).expect("the app's file");
    assert_eq!((file.uid(), file.gid()), (1234, 4321));
}

#[test]
fn a_file_can_be_a_volume() {
    let directory = host_directory();
    let volume = format!("--volume=v,kind=host,source={}", directory.join("greeting").display());
    let flags = ["--mount=volume=v,target=/etc/greeting", "--", "read-file", "/etc/greeting"];

    let output = Pod::start(&[&[&volume, INSPECT], &flags[..]].concat()).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "inspect"), ["from the host"]);
}

#[test]
fn a_host_volume_whose_source_is_missing_is_named() {
    let arguments =
        ["--volume=v,kind=host,source=/no/such/directory", INSPECT, "--mount=volume=v,target=/mnt"];

    let output = Pod::start(&arguments).finish();

    output.expect_code(254).expect_err("/no/such/directory");
}

#[test]
fn an_empty_volume_is_shared_between_apps() {
    let writer = ["--name=writer", "--", "write-file", "/shared/word", "swordfish", "---"];
    let reader =
        ["--name=reader", "--", "await-file", "/shared/word", "sleep", "1", "read-file", "/shared/word"];
    let volume = ["--volume=v,kind=empty", "--mount=volume=v,target=/shared"];

    let output =
        Pod::start(&[&volume[..], &[INSPECT], &writer, &[INSPECT], &reader].concat()).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "reader"), ["swordfish"]);
}

#[test]
fn an_app_sees_what_another_one_changes_in_a_file_it_has_read() {
    let writer =
        ["--name=writer", "--", "write-file", "/shared/word", "old", "write-file", "/shared/written", "-"];
    let rewrite = ["await-file", "/shared/read", "write-file", "/shared/word", "swordfish"];
    let rewritten = ["write-file", "/shared/rewritten", "-", "---"];
    let reader = ["--name=reader", "--", "await-file", "/shared/written", "read-file", "/shared/word"];
    let reread =
        ["write-file", "/shared/read", "-", "await-file", "/shared/rewritten", "read-file", "/shared/word"];
    let apps = [&[INSPECT], &writer[..], &rewrite, &rewritten, &[INSPECT], &reader, &reread].concat();
    let volume = ["--volume=v,kind=empty", "--mount=volume=v,target=/shared"];

    let output = Pod::start(&[&volume[..], &apps].concat()).finish().expect_code(0);

    // What is read ends without a newline.
    assert_eq!(said(&output.stdout, "reader"), ["oldwrote /shared/read", "swordfish"]);
}

#[test]
fn an_empty_volume_has_the_mode_and_owner_it_was_given() {
    let volume =
        ["--volume=v,kind=empty,mode=0750,uid=1234,gid=4321", INSPECT, "--mount=volume=v,target=/mnt"];

    let output = Pod::start(&[&volume[..], &["--", "stat-file", "/mnt"]].concat()).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "inspect"), ["mode=40750 uid=1234 gid=4321"]);
}

#[test]
fn a_volume_stays_writable_under_a_read_only_root() {
    let flags =
        ["--readonly-rootfs=true", "--mount=volume=v,target=/data", "--", "write-file", "/data/x", "y"];

    let output = Pod::start(&[&["--volume=v,kind=empty", INSPECT], &flags[..]].concat()).finish();

    output.expect_code(0).expect_out("wrote /data/x");
}

#[test]
fn an_app_cannot_leave_its_root_through_a_symlink_in_a_volume() {
    let directory = host_directory();
    std::os::unix::fs::symlink("/etc/hostname", directory.join("way-out")).expect("linking");
    let volume = format!("--volume=v,kind=host,source={}", directory.display());
    let flags = ["--mount=volume=v,target=/mnt", "--", "read-file", "/mnt/way-out"];

    let output = Pod::start(&[&[&volume, INSPECT], &flags[..]].concat()).finish();

    let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
    assert!(host.trim().is_empty() || !output.out().contains(host.trim()), "{output:?}");
}

/// What the app of the next test looks at.
const LOOK: &str = r#"
cat /recursive/inner/file; ls /flat/inner
try() { if echo x 2> /dev/null > "$1"; then echo "$1 written"; else echo "$1 refused"; fi; }
try /recursive/inner/new; try /volume-says-no/new; try /recursive-says-no/inner/new; try /point-says-no/new; try /only-point-says-no/new
cat /outer/below/file; cat /links/below/file; cat /etc/out/file; cat /dots/file
try /etc/hosts; try /etc/resolv.conf; umount /etc/hosts 2> /dev/null && echo gone
echo done; while [ ! -e /recursive/go ]; do sleep 0.2; done
"#;

#[test]
fn volumes_show_mounts_below_them_or_not_lie_in_each_other_and_are_as_writable_as_was_asked_for() {
    let directory = host_directory();
    for place in ["inner", "nested", "links"] {
        fs::create_dir(directory.join(place)).expect("creating");
    }
    fs::write(directory.join("inner/covered"), "").expect("writing");
    fs::write(directory.join("nested/file"), "nested\n").expect("writing");
    for (name, target) in [("below", "/../../elsewhere"), ("etc", "/../../../../../../../../etc")] {
        std::os::unix::fs::symlink(target, directory.join("links").join(name)).expect("linking");
    }
    fs::write(directory.join("locked"), "").expect("writing");
    fs::write(directory.join("mapped"), [0; 4096]).expect("writing");
    let host = |name: &str, further: serde_json::Value| {
        let mut volume = json!({ "name": name, "kind": "host", "source": directory });
        for (key, value) in further.as_object().expect("an object") {
            volume[key] = value.clone();
        }
        volume
    };
    let place = |name: &str| directory.join(name);
    let volumes = [
        host("recursive", json!({})),
        host("flat", json!({ "recursive": false })),
        host("volume-says-no", json!({ "readOnly": true, "recursive": true })),
        host("point-says-no", json!({ "readOnly": false })),
        host("only-point-says-no", json!({})),
        host("nested", json!({ "source": place("nested") })),
        host("links", json!({ "source": place("links") })),
        json!({ "name": "outer", "kind": "empty" }),
    ];
    let mount = |volume: &str, path: &str| json!({ "volume": volume, "path": path });
    let point = |name: &str, read_only: bool| json!({ "name": name, "path": format!("/{name}"), "readOnly": read_only });
    let points =
        [point("volume-says-no", false), point("point-says-no", true), point("only-point-says-no", true)];
    let mut shell = shell_app("shell", LOOK, &json!({ "mountPoints": points }));
    // Below another one's target, and given before it; through links of a volume, one of them out of the root; with dots.
    shell["mounts"] = json!([
        mount("nested", "/outer/below"),
        mount("outer", "/outer"),
        mount("nested", "/links/below"),
        mount("nested", "/links/etc/out"),
        mount("links", "/links"),
        mount("nested", "/dots/../../../dots"),
        mount("recursive", "/recursive"),
        mount("flat", "/flat"),
        mount("volume-says-no", "/recursive-says-no"),
    ]);
    let steps = [
        "/inspect",
        "lock-file",
        "/v/locked",
        "map-file",
        "/v/mapped",
        "from the pod",
        "await-file",
        "/v/go",
    ];
    let inspect = json!({
        "name": "inspect",
        "image": { "name": INSPECT, "id": image_id(INSPECT) },
        "app": { "exec": steps, "user": "0", "group": "0" },
        "mounts": [mount("recursive", "/v")],
    });
    let manifest = fresh_path("manifest");
    let pod = json!({ "acVersion": "0.8.11", "acKind": "PodManifest", "apps": [shell, inspect], "volumes": volumes });
    fs::write(&manifest, pod.to_string()).expect("writing a manifest");
    let script =
        format!("mount -t tmpfs tmpfs {0} && echo mounted > {0}/file && \"$@\"", place("inner").display());
    let pod_manifest = format!("--pod-manifest={}", manifest.display());

    let mut pod = Pod::start_by_script(&script, &["--hosts-entry=host", "--dns=host", &pod_manifest]);
    pod.wait_for("done");
    pod.wait_for("mapped");

    // Locks end at the pod's border; what was mapped and synchronized does not.
    let locked = File::options().read(true).write(true).open(place("locked")).expect("opening");
    let host_may_lock = is_free(&locked);
    let mapped = fs::read(place("mapped")).expect("reading");
    fs::write(place("go"), "").expect("writing");
    let output = pod.finish().expect_code(0);
    let expected = [
        "mounted",
        "covered",
        "/recursive/inner/new written",
        "/volume-says-no/new refused",
        "/recursive-says-no/inner/new refused",
        "/point-says-no/new written",
        "/only-point-says-no/new refused",
        "nested",
        "nested",
        "nested",
        "nested",
        "/etc/hosts refused",
        "/etc/resolv.conf refused",
        "done",
    ];
    assert_eq!(said(&output.stdout, "shell"), expected, "{output:?}");
    assert!(mapped.starts_with(b"from the pod"), "{:?}", &mapped[..20]);
    assert!(host_may_lock, "the pod's lock is seen on the host");
    assert!(!std::path::Path::new("/elsewhere").exists() && !std::path::Path::new("/etc/out").exists());
}

/// Whether the calling process gets both kinds of lock.
fn is_free(file: &File) -> bool {
    let lock =
        nix::libc::flock { l_type: nix::libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    // SAFETY: an open file; no memory is passed.
    let whole = unsafe { nix::libc::flock(file.as_raw_fd(), nix::libc::LOCK_EX | nix::libc::LOCK_NB) } == 0;
    whole && nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETLK(&lock)).is_ok()
}

#[test]
fn what_is_no_file_of_its_own_cannot_be_a_volume() {
    let directory = host_directory();
    let fifo = directory.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let socket = directory.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");

    for (source, what) in [(fifo, "a FIFO"), (socket, "a socket"), ("/dev/null".into(), "a device")] {
        let volume = format!("--volume=v,kind=host,source={}", source.display());
        let output = Pod::start(&[&volume, INSPECT, "--mount=volume=v,target=/mnt"]).finish();
        output.expect_code(254).expect_err(&format!("it is {what} of the host")).expect_err("volume \"v\"");
    }
}
