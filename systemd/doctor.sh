#!/bin/sh
# `microscope-agent doctor` as the service would run it: as its user, with its credentials, folders and walls, drop-ins
# included. `make install` puts it beside the agent as microscope-doctor; arguments are doctor's own.
set -eu
[ "$(id -u)" = 0 ] || { echo "microscope-doctor: root's rights are needed: sudo $0" >&2; exit 1; }
home=$(dirname "$(readlink -f "$0")")

# Whatever the unit and its drop-ins say of a service, but for how it is started, watched and started again.
properties() {
    systemctl cat microscope-agent.service | sed -e :joined -e '/\\$/{N;s/\\\n/ /;b joined' -e '}' | awk '
        /^\[/ { service = $0 == "[Service]"; next }
        service && /^[A-Z][A-Za-z]*=/ && !/^(Type|NotifyAccess|Exec|Restart|Timeout|Watchdog)/'
}

properties=$(properties | tac)
[ -n "$properties" ] || { echo "microscope-doctor: there is no service; install it first: sudo make install" >&2; exit 1; }
set -- "$home/microscope-agent" doctor --config /etc/microscope-agent/agent.toml "$@"
while IFS= read -r property; do  # the last first, so that they stand in their order
    set -- --property "$property" "$@"
done <<PROPERTIES
$properties
PROPERTIES
exec systemd-run --quiet --collect --wait --pipe --property User=microscope-agent "$@"
