#!/bin/bash
# Runs in the image after its packages, jars and files are in place.
set -euo pipefail

cd /usr/local/antmedia
# The two jars that the server looks for beside its folders, under these names.
mv lib/ant-media-server-*-server.jar ant-media-server.jar
mv lib/ant-media-server-*-service.jar ant-media-server-service.jar

# The same account as Ant Media Server's installer makes.
useradd --system --home-dir /usr/local/antmedia/ --shell /bin/false antmedia
mkdir -p log plugins webapps/LiveApp/streams
chown -R antmedia:antmedia /usr/local/antmedia

systemctl --quiet enable antmedia.service
