#!/bin/bash
# unpack.sh TREE PARENT PACKAGE…: TREE becomes what the packages hold and nothing else, for programs that this machine
# runs itself. The packages are fetched with apt, in a throw-away copy of the image PARENT, so their signatures are
# checked. lab/images.py runs this in private mount and process namespaces, as it runs build.sh.
set -euo pipefail

tree=$1 parent=$2
shift 2
scratch=${tree%/*}/scratch
mkdir "$scratch"
mount --types tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
root=$scratch/root
mount --types overlay --options "lowerdir=$parent,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root"
mount --types proc proc "$root/proc"
mount --bind /dev "$root/dev"
cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"

inside() { # COMMAND…: in the copy
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        ${PROXY:+http_proxy="$PROXY"} "$@"
}

inside apt-get -q update
mkdir "$root/fetched" "$root/unpacked"
inside env --chdir=/fetched apt-get -q -o APT::Sandbox::User=root download "$@"
for package in "$root"/fetched/*.deb; do
    inside dpkg-deb --extract "/fetched/${package##*/}" /unpacked
done
cp --archive "$root/unpacked" "$tree"
