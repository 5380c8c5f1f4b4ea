#!/bin/sh
# A stage0 that is not rkt: lays a pod out by hand, as the stage1 ABI says (rkt-reference 2.2 and 4.3), takes its lock, and
# becomes stage1's run.
#
# foreign_stage0.sh DATA UUID STAGE1.aci APP.aci EXEC-AS-JSON overlay|copies FLAG…
set -e
data=$1 uuid=$2 stage1=$3 image=$4 command=$5 kind=$6
shift 6
pod=$data/pods/run/$uuid
for tree in stage1 app; do
    [ $tree = stage1 ] && file=$stage1 || file=$image
    mkdir -p "$data/cas/tree/$tree"
    [ -e "$data/cas/tree/$tree/manifest" ] || tar -xf "$file" -C "$data/cas/tree/$tree"
done
mkdir -p "$pod/stage1/rootfs" "$pod/appsinfo/app"
cp "$data/cas/tree/stage1/manifest" "$pod/stage1/manifest"
cp "$data/cas/tree/app/manifest" "$pod/appsinfo/app/manifest"
printf stage1 >"$pod/stage1TreeStoreID"
id=sha512-$(printf '%064d' 0)
printf '{"acVersion":"1.30.0","acKind":"PodManifest","apps":[{"name":"app","image":{"id":"%s"},
    "app":{"exec":%s,"user":"0","group":"0"}}],"volumes":null,"isolators":null,"annotations":null,"ports":null}' \
    "$id" "$command" >"$pod/pod"
: >"$pod/pod-created"
apps=$pod/stage1/rootfs/opt/stage2
if [ "$kind" = overlay ]; then
    : >"$pod/overlay-prepared"
    printf app >"$pod/appsinfo/app/treeStoreID"
    mount_overlay() {
        mkdir -p "$2" "$3" "$4"
        mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
    }
    own=$pod/overlay
    mount_overlay "$data/cas/tree/stage1/rootfs" "$own/stage1/upper" "$own/stage1/work" "$pod/stage1/rootfs"
    touch "$pod/stage1/rootfs/rkt/status"
    mkdir -p "$apps/app"
    mount_overlay "$data/cas/tree/app/rootfs" "$own/app/upper/app" "$own/app/work/app" "$apps/app/rootfs"
else
    cp -a "$data/cas/tree/stage1/rootfs/." "$pod/stage1/rootfs/"
    mkdir -p "$apps/app"
    cp -a "$data/cas/tree/app/rootfs" "$apps/app/rootfs"
fi
cp "$data/cas/tree/app/manifest" "$apps/app/manifest"
exec 9<"$pod"
flock --exclusive 9
cd "$pod"
RKT_LOCK_FD=9
export RKT_LOCK_FD
exec "$pod/stage1/rootfs/init" "$@" "$uuid"
