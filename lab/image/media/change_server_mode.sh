#!/bin/bash
# change_server_mode.sh cluster ADDRESS [USER PASSWORD]: the node joins the cluster of this MongoDB, by default with the
#                                                        login that a mongodb:// ADDRESS has in it
# change_server_mode.sh standalone: the node is on its own again
#
# As Ant Media Server's script it writes the address, with the password, into conf/red5.properties and every
# application's WEB-INF/red5-web.properties, gives the host's name its address in /etc/hosts, and has the service
# started again without waiting for it. As there, nothing says whether the database answers: see the service's log.
set -euo pipefail

cd "$(dirname "$0")"

usage() {
    echo "Usage: $0 cluster {MONGO_DB_SERVER}"
    echo "       $0 cluster {MONGO_DB_SERVER} {MONGO_DB_USERNAME} {MONGO_DB_PASSWORD}"
    echo "       $0 standalone"
}

set_property() { # FILE NAME VALUE: instead of the value that the file has
    local line fresh
    fresh=$(mktemp "$1.XXXXXX")
    while IFS= read -r line; do
        if [[ $line == "$2="* ]]; then
            line=$2=$3
        fi
        printf '%s\n' "$line"
    done <"$1" >"$fresh"
    chown antmedia:antmedia "$fresh"
    chmod 640 "$fresh"
    mv "$fresh" "$1"
}

mode=${1-} address='' user='' password='' type=mapdb
case $mode in
cluster)
    address=${2-} user=${3-} password=${4-} type=mongodb
    if [ -z "$address" ]; then
        echo "No DB URL specified. Missing parameter"
        usage
        exit 1
    fi
    if [[ ! $address =~ ^mongodb(\+srv)?:// ]]; then
        # The real script since 2026: without a terminal the question is not even shown, and nothing changes.
        answer=''
        read -r -p "$address is no mongodb:// address. Use it all the same (y/n)? " answer || true
        if [ "$answer" != y ]; then
            exit 0
        fi
    fi
    ;;
standalone) ;;
*)
    echo "No server mode specified. Missing parameter"
    usage
    exit 1
    ;;
esac
echo "Mode: $mode"

set_property conf/red5.properties clusterdb.host "$address"
set_property conf/red5.properties clusterdb.user "$user"
set_property conf/red5.properties clusterdb.password "$password"
set_property conf/red5.properties useGlobalIp false
for application in webapps/*/WEB-INF/red5-web.properties; do
    set_property "$application" db.type "$type"
    set_property "$application" db.host "$address"
    set_property "$application" db.user "$user"
    set_property "$application" db.password "$password"
done

name=$(hostname)
others=$(grep --invert-match --fixed-strings "$name" /etc/hosts || true)
own=$(hostname -I)
printf '%s\n%s %s\n' "$others" "${own%% *}" "$name" >/etc/hosts

echo "Ant Media Server is restarting in $mode mode."
systemctl stop antmedia
systemctl start --no-block antmedia
