#!/bin/sh
# Removes what `make install` made; settings, unsent reports, what is stored and reviews stay unless PURGE=yes, the administrator's drop-ins always.
set -eu
[ "$(id -u)" = 0 ] || { echo "make uninstall: root's rights are needed: sudo make uninstall" >&2; exit 1; }
units=/etc/systemd/system
if [ -d /run/systemd/system ]; then
    for unit in microscope-agent microscope-collect microscope-dashboard; do
        [ ! -e "$units/$unit.service" ] || systemctl --quiet disable --now "$unit"
    done
fi
for link in /usr/local/bin/microscope-*; do
    case $(readlink "$link" || true) in /opt/microscope-agent/*) rm -f "$link" ;; esac
done
rm -rf /opt/microscope-agent
rm -f "$units/microscope-agent.service" "$units/microscope-collect.service" "$units/microscope-dashboard.service"
rm -f "$units/microscope-agent.service.d/jetson.conf"
[ ! -d "$units/microscope-agent.service.d" ] || rmdir --ignore-fail-on-non-empty "$units/microscope-agent.service.d"
[ ! -d /run/systemd/system ] || systemctl daemon-reload
if [ "${PURGE:-no}" = yes ]; then
    for name in microscope-agent microscope-collect microscope-dashboard; do
        rm -rf "/var/lib/$name" "/var/lib/private/$name"
    done
    rm -rf /etc/microscope-agent
else
    echo 'kept: /etc/microscope-agent, and in /var/lib microscope-agent, microscope-collect and microscope-dashboard;' \
        'PURGE=yes removes them'
fi
