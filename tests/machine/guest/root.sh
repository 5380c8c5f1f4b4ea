# The machine's second stage, PID 1 in the host's root: the remaining file systems, the command, the end.

. /run/machine/settings
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
B=/run/machine/busybox

$B mount -t devpts -o mode=620,ptmxmode=666,gid=5 devpts /dev/pts
$B mount -t tmpfs -o mode=1777 tmpfs /dev/shm
$B mount -t mqueue mqueue /dev/mqueue
$B mount -t cgroup2 cgroup2 /sys/fs/cgroup
$B mount -t debugfs debugfs /sys/kernel/debug
$B mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
$B mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
$B mount -t bpf bpf /sys/fs/bpf 2>/dev/null
# As systemd does it: mounts made later are seen in every namespace that does not say otherwise.
$B mount --make-rshared /
$B ln -sf /proc/self/fd /dev/fd
$B ln -sf /proc/self/fd/0 /dev/stdin
$B ln -sf /proc/self/fd/1 /dev/stdout
$B ln -sf /proc/self/fd/2 /dev/stderr
$B chmod 666 /dev/kvm /dev/net/tun /dev/fuse 2>/dev/null
$B hostname "$HOST"
$B ip link set lo up
# Every controller is there for child groups, as on a systemd host.
for controller in $($B cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done

# The ports can be opened once only, so the command gets pipes, which behave like any other.
$B mkfifo /run/machine/stdout /run/machine/stderr
$B cat </run/machine/stdout >"${PORT}2" &
out=$!
$B cat </run/machine/stderr >"${PORT}3" &
err=$!
echo running >&3
# Each in its own session: a program that signals its group must not meet PID 1.
# The host's own shell: busybox would run its own tools in place of the host's.
$B setsid /bin/sh /run/machine/command </dev/null >/run/machine/stdout 2>/run/machine/stderr 3>&-
code=$?

# Processes left behind may hold the pipes open: they get three seconds, then the machine ends anyway.
tries=0
while { $B kill -0 $out || $B kill -0 $err; } 2>/dev/null && [ $tries -lt 60 ]; do
    $B usleep 50000
    tries=$((tries + 1))
done
$B sync
echo "exit $code" >&3
$B usleep 20000
echo b >/proc/sysrq-trigger
# The emulator stops on the reset; PID 1 must not end before it does.
while :; do $B sleep 1; done
