#!/bin/sh
# Runs SHARED/start.sh as root of a private copy of this machine, in mount and PID namespaces of its own (see private_root.py).
# The file system is this machine's with PACKAGES on top; what is written to it lives in memory and goes away with the
# process. Only /shared is a real directory: SHARED.
#   private_root.sh WORK SHARED PACKAGES…
set -eu
work=$1 shared=$2
shift 2

mount -t tmpfs -o mode=755,size=3g private "$work"
mkdir "$work/upper" "$work/work" "$work/root"
for packages in "$@"; do
    cp -a "$packages/." "$work/upper/"
done
# The overlay root has to belong to root and be open to all, whatever the cache directory's mode was.
chown root:root "$work/upper"
chmod 755 "$work/upper"
root=$work/root
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" overlay "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 run "$root/run"
mkdir "$root/shared"
mount --bind "$shared" "$root/shared"
# This checkout, where it lies on a file system of its own or below one of the above, is not seen through "/".
checkout=$(cd "$(dirname "$0")/../.." && pwd)
if [ ! -e "$root$checkout/Makefile" ]; then
    mkdir -p "$work/checkout" "$work/checkout.work" "$root$checkout"
    mount -t overlay -o "lowerdir=$checkout,upperdir=$work/checkout,workdir=$work/checkout.work" overlay "$root$checkout"
fi
exec chroot "$root" /bin/sh -eu /shared/start.sh
