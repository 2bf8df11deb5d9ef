#!/bin/sh
# `microscope-agent doctor` as the service would run it: as its user, with its credentials, folders and walls, drop-ins
# included. `make install` puts it beside the agent as microscope-doctor; arguments are doctor's own.
set -eu
[ "$(id -u)" = 0 ] || { echo "microscope-doctor: root's rights are needed: sudo $0" >&2; exit 1; }
home=$(dirname "$(readlink -f "$0")")

# Whatever the unit and its drop-ins say of a service, but for how it is started, watched and started again. It may ask the
# kernel who keeps the clock right, which the service need not; to set the clock takes a right that neither has.
properties() {
    systemctl cat microscope-agent.service |
        sed -e :joined -e '/\\$/{N;s/[[:space:]]*\\\n[[:space:]]*/ /;b joined' -e '}' |
        sed -e 's/^[[:space:]]*//' -e 's/[[:space:]]*=[[:space:]]*/=/' |
        awk '
        /^\[/ { service = $0 == "[Service]"; next }
        !service || !/^[A-Z][A-Za-z]*=/ || /^(Type|NotifyAccess|Exec|Restart|Timeout|Watchdog|ProtectClock)/ { next }
        /^SystemCallFilter=/ { filtered = $0 != "SystemCallFilter=" }
        { print }
        END { if (filtered) print "SystemCallFilter=adjtimex clock_adjtime" }'
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
