# From the outer machine's namespaces into a host's own: an overlay root, fresh /proc /sys /dev /run, cgroups, PID 1.
# usage: boot.sh LOWER|- DISK NAME [WORKSPACE-IMAGE|-] [CGROUP-MOUNT...] -- INIT...
# Without LOWER, DISK/root is the whole root already. A CGROUP-MOUNT is TYPE:OPTIONS:DIRECTORY.
# Runs inside `unshare --mount --pid --uts --ipc --cgroup`.
set -eu
lower=$1 disk=$2 name=$3 workspace=$4
shift 4
mount --make-rprivate /
root=$disk/root
if [ "$lower" = - ]; then
    mount --bind "$root" "$root"
else
    mount -t overlay "$name" -o "lowerdir=$lower,upperdir=$disk/upper,workdir=$disk/work" "$root"
fi
mount -t proc proc "$root/proc"
# The kernel's settings belong to the outer machine.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
# A boot id of its own, or a reboot could not be told from inside.
cp /proc/sys/kernel/random/uuid "$disk/boot_id"
mount --bind "$disk/boot_id" "$root/proc/sys/kernel/random/boot_id"
# systemd mounts every controller that it reads of, those too that the host was not given a part of.
mount --bind "$disk/controllers" "$root/proc/cgroups"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -m 1777 "$root/run/lock"

dev=$root/dev
mount -t tmpfs -o mode=755 tmpfs "$dev"
mkdir "$dev/pts" "$dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$dev/shm"
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
ln -s fd/0 "$dev/stdin"
ln -s fd/1 "$dev/stdout"
ln -s fd/2 "$dev/stderr"
mknod -m 666 "$dev/null" c 1 3
mknod -m 666 "$dev/zero" c 1 5
mknod -m 666 "$dev/full" c 1 7
mknod -m 666 "$dev/random" c 1 8
mknod -m 666 "$dev/urandom" c 1 9
mknod -m 666 "$dev/tty" c 5 0

if [ "$workspace" != - ]; then
    mkdir -p "$root/workspace"
    mount -o loop "$workspace" "$root/workspace"
fi

cgroups=$root/sys/fs/cgroup
while [ "$1" != -- ]; do
    type=${1%%:*} rest=${1#*:}
    options=${rest%%:*} directory=${rest#*:}
    # A hybrid layout keeps its hierarchies in directories of a tmpfs; a pure one is the directory itself.
    if [ "$directory" != . ] && ! [ -e "$cgroups/.tree" ]; then
        mount -t tmpfs -o mode=755 tmpfs "$cgroups"
        : >"$cgroups/.tree"
    fi
    mkdir -p "$cgroups/$directory"
    mount -t "$type" ${options:+-o "$options"} "$type" "$cgroups/$directory"
    shift
done
shift
rm -f "$cgroups/.tree"

hostname "$name"
cd "$root"
mkdir -p .outer
pivot_root . .outer
umount -l /.outer
rmdir /.outer
# As systemd makes it on a machine of its own, or no credential reaches a unit: those come by mounts. Nothing leaves here.
mount --make-rshared /
# Modules, clock and raw devices are the outer machine's, whatever root inside a host tries.
exec setpriv --bounding-set -sys_module,-sys_time,-sys_rawio \
    env -i container=testbed PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"
