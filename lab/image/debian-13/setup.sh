#!/bin/bash
# Runs in the image after its packages and files are in place.
set -euo pipefail

# The host's address is set from outside. The DHCP client would wait 30 s for a server at each boot.
dpkg-divert --quiet --local --rename --add /usr/sbin/dhcpcd

# cloud-init recognises AWS by the machine's firmware tables, which a container has not: without the first line it takes
# the host for an unknown cloud and does not ask for the token that IMDSv2 wants. Without the second it would ask for an
# address by DHCP before it reads the metadata, and note a failure that `cloud-init status` reports for good.
source=/usr/lib/python3/dist-packages/cloudinit/sources/DataSourceEc2.py
dpkg-divert --quiet --local --rename --add "$source"
sed -e 's/^def identify_platform():$/&\n    return CloudNames.AWS/' \
    -e '/^    (DataSourceEc2Local, (sources.DEP_FILESYSTEM,)),/d' "$source.distrib" >"$source"
if [ "$(diff "$source.distrib" "$source" | grep -c '^[<>]')" != 2 ]; then
    echo "setup: cloud-init's DataSourceEc2.py is not as expected" >&2
    exit 1
fi
python3 -m py_compile "$source"
