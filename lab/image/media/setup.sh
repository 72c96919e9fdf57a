#!/bin/bash
# Runs in the image after its packages and files are in place.
set -euo pipefail

# The same account as Ant Media Server's installer makes.
useradd --system --home-dir /usr/local/antmedia/ --shell /bin/false antmedia
mkdir -p /usr/local/antmedia/{log,temp,webapps/root,webapps/LiveApp/streams}
chown -R antmedia:antmedia /usr/local/antmedia

systemctl --quiet disable nginx.service
systemctl --quiet mask nginx.service
systemctl --quiet enable antmedia.service
