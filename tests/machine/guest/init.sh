#!/bin/busybox sh
# The machine's first stage, in the initramfs: drivers, then the host's root below an overlay, then root.sh in it.
# /settings is written by initramfs.rs for every boot.

fail() {
    echo "machine: $*" >/dev/console
    echo "failed $*" >&3
    /bin/busybox sleep 1
    echo b >/proc/sysrq-trigger
}

export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
. /settings

while read -r module; do
    insmod "/modules/$module" || echo "machine: cannot load $module" >/dev/console
done </module-order

# Ports in the order of emulator.rs: 1 = control, 2 = stdout, 3 = stderr.
until PORT=$(ls /dev/vport*p3 2>/dev/null); do usleep 5000; done
PORT=${PORT%3}
exec 3>"${PORT}1"
echo kernel >&3

P9=trans=virtio,version=9p2000.L,msize=524288,cache=loose
mount -t tmpfs -o mode=755 tmpfs /layers
mkdir /layers/lower /layers/upper /layers/work
mount -t 9p -o "$P9,ro" root /layers/lower || fail "cannot mount the host's root"
mount -t overlay -o lowerdir=/layers/lower,upperdir=/layers/upper,workdir=/layers/work overlay /newroot ||
    fail "cannot mount the overlay"
cd /newroot || fail "no new root"

# What is a file system of its own on any host is one here; it starts empty.
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p var/tmp var/lib/rkt
mount -t tmpfs -o mode=1777 tmpfs var/tmp
mount -t ext4 /dev/vda var/lib/rkt || fail "cannot mount the disk"
rmdir var/lib/rkt/lost+found
mkdir -p ".$WRITABLE"
mount -t 9p -o "$P9,access=any" writable ".$WRITABLE" || fail "cannot mount $WRITABLE"
mkdir -p "lib/modules/$RELEASE"
mount --bind "/layers/lower$MODULES" "lib/modules/$RELEASE" || echo "machine: no further modules" >/dev/console
mount --move /proc proc
mount --move /sys sys
mount --move /dev dev
mkdir -p dev/pts dev/shm dev/mqueue run/lock run/machine
cp /bin/busybox /root.sh /settings /command run/machine/
echo "PORT=$PORT" >>run/machine/settings
echo mounted >&3
exec switch_root /newroot /run/machine/busybox sh /run/machine/root.sh
