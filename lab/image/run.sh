#!/bin/bash
# run.sh TREE [SOURCE TARGET]… -- COMMAND…: COMMAND in a throw-away copy of an image, in the private mount, process
# and network namespaces that lab/images.py made. What it writes is in memory and gone when it ends.
# Exit 125 says that the copy could not be made.
set -Eeuo pipefail
trap 'exit 125' ERR

tree=$1
shift
scratch=$tree/mnt # a mount here is seen by this process and its children only
mount --types tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
root=$scratch/root
mount --types overlay --options "lowerdir=$tree,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root"
mount --types proc proc "$root/proc"
mount --bind /dev "$root/dev"
while [ "$1" != -- ]; do
    target=$root$2
    if [ -d "$1" ]; then
        mkdir -p "$target"
    else
        mkdir -p "${target%/*}"
        touch "$target"
    fi
    mount --bind --options ro "$1" "$target"
    shift 2
done
shift
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
