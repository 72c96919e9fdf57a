#!/bin/bash
# The steps of an image build that need a shell. lab/images.py runs each in private mount and process namespaces, so
# that nothing stays mounted or running whatever happens; it passes what it knows as environment variables.
#
#   build.sh bootstrap TREE           a minimal Debian of $SUITE from $ARCHIVE
#   build.sh packages TREE PACKAGE…   apt sources of the machine's archive, then the packages
#   build.sh finish TREE [SETUP]      the recipe's own script in the image, then everything that must differ per host
set -euo pipefail

step=$1 tree=$2
shift 2

inside() { # COMMAND…: in the image
    chroot "$tree" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive ${PROXY:+http_proxy="$PROXY"} "$@"
}

open_image() { # a name server, /proc and /dev for maintainer scripts, and no service may start
    cp --remove-destination /etc/resolv.conf "$tree/etc/resolv.conf"
    printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
    chmod 755 "$tree/usr/sbin/policy-rc.d"
    mount --types proc proc "$tree/proc"
    mount --bind /dev "$tree/dev"
    mount --types tmpfs tmpfs "$tree/run"
}

close_image() {
    umount "$tree/run" "$tree/dev" "$tree/proc"
    rm "$tree/usr/sbin/policy-rc.d"
    : >"$tree/etc/resolv.conf"
}

case $step in
bootstrap)
    ${PROXY:+env http_proxy="$PROXY"} debootstrap --variant=minbase --arch=amd64 --keyring="$KEYRING" \
        "$SUITE" "$tree" "$ARCHIVE"
    # Nobody needs a lab host's disk after a power cut: without fsync after each file a package installs twice as fast.
    echo force-unsafe-io >"$tree/etc/dpkg/dpkg.cfg.d/lab"
    rm -f "$tree/etc/apt/sources.list"
    cat >"$tree/etc/apt/sources.list.d/debian.sources" <<SOURCES
Types: deb
URIs: $ARCHIVE
Suites: $SUITE $SUITE-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $SECURITY_ARCHIVE
Suites: $SUITE-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    ;;
packages)
    open_image
    inside apt-get -q update
    inside apt-get -q -y --no-install-recommends dist-upgrade
    inside apt-get -q -y --no-install-recommends install "$@"
    close_image
    ;;
finish)
    open_image
    if [ $# -gt 0 ]; then
        cp "$1" "$tree/run/setup"
        chmod 755 "$tree/run/setup"
        inside /run/setup
    fi
    inside apt-get check
    inside sh -c 'if dpkg --audit | grep .; then exit 1; fi'
    inside apt-get clean
    close_image
    rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/log/apt/* "$tree"/var/cache/debconf/*-old "$tree"/tmp/*
    rm -f "$tree"/etc/ssh/ssh_host_* "$tree/var/lib/dbus/machine-id" "$tree/etc/hostname" "$tree/var/lib/systemd/random-seed"
    : >"$tree/etc/machine-id"
    ;;
*)
    echo "build.sh: no step named $step" >&2
    exit 2
    ;;
esac
