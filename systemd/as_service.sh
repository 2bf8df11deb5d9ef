#!/bin/sh
# A command as its service would run it: as its user, with its credentials, folders and walls, drop-ins included.
# `make install` puts it beside the programs under three names: microscope-doctor is `microscope-agent doctor`,
# microscope-stored is `microscope-collect` for what is stored (status, export, rescue), with --page for what the page
# stores that is the collector as well, and microscope-users is `microscope-dashboard user`; arguments are the command's own.
set -eu
name=$(basename "$0")
[ "$(id -u)" = 0 ] || { echo "$name: root's rights are needed: sudo $0" >&2; exit 1; }
home=$(dirname "$(readlink -f "$0")")
settings=/etc/microscope-agent
pipe=--pipe
case $name in
microscope-doctor)
    unit=microscope-agent
    set -- "$home/microscope-agent" doctor --config "$settings/agent.toml" "$@"
    ;;
microscope-stored)
    unit=microscope-collect
    whose="--config $settings/collector.toml"
    if [ "${1-}" = --page ]; then
        unit=microscope-dashboard whose=  # by default, what is stored lies in the state folder of the unit
        shift
    fi
    case ${1-} in
    status | export | rescue) set -- "$home/microscope-collect" $whose "$@" ;;
    *)  # never a second collector
        echo "$name: write $name status, $name export reports|cells|slides, or $name rescue; $name --page ... where" \
            "the page collects" >&2
        exit 2
        ;;
    esac
    ;;
microscope-users)
    unit=microscope-dashboard
    pipe="--pipe --pty"  # a password is asked for on a terminal, which Ctrl-C gives back as it was
    case ${1-} in
    add | remove | list) set -- "$home/microscope-dashboard" --config "$settings/dashboard.toml" user "$@" ;;
    *)
        echo "$name: write $name add NAME [--role reader|reviewer|administrator], $name remove NAME, or $name list" >&2
        exit 2
        ;;
    esac
    ;;
*) echo "$name: this script goes by the names microscope-doctor, microscope-stored and microscope-users" >&2; exit 2 ;;
esac

# Whatever the unit and its drop-ins say of a service, but for how it is started, watched and started again. It may ask the
# kernel who keeps the clock right, which the service need not; to set the clock takes a right that neither has.
properties() {
    systemctl cat "$unit.service" |
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
[ -n "$properties" ] || { echo "$name: there is no service; install it first: sudo make install" >&2; exit 1; }
# systemd would say no more than 243/CREDENTIALS.
echo "$properties" | sed -n 's/^LoadCredential=\([^:]*\):\(\/.*\)$/\1 \2/p' | while read -r credential file; do
    [ -r "$file" ] || { echo "$name: $file is missing, which $unit.service reads as the credential $credential: put it" \
        "there (INSTALL.md, Secrets), or take the line LoadCredential= away (systemctl edit $unit)" >&2; exit 4; }
done || exit $?
while IFS= read -r property; do  # the last first, so that they stand in their order
    set -- --property "$property" "$@"
done <<PROPERTIES
$properties
PROPERTIES
exec systemd-run --quiet --collect --wait $pipe --property "User=$unit" "$@"
