#!/bin/sh
# Installs the agent as a service, or upgrades it; called by `make install`.
# Each release has a folder of its own under /opt/microscope-agent/releases, and a link says which one runs, so a
# failed upgrade changes nothing. Settings (/etc/microscope-agent) and unsent reports (/var/lib) are left alone.
set -eu
umask 022
cd "$(dirname "$0")/.."
home=/opt/microscope-agent
units=/etc/systemd/system
settings=/etc/microscope-agent

fail() { echo "make install: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "root's rights are needed: sudo make install"
# The system's own: a service sees no home folder, where others live, and TensorRT belongs to the system's.
python=${SYSTEM_PYTHON:-/usr/bin/python3}
"$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 10))' ||
    fail "$python with venv, 3.10 or later, is needed: apt install python3-venv, or SYSTEM_PYTHON=/path/to/python3"
case $(readlink -f "$python") in /root/* | /home/*) fail "$python lies in a home folder, which no service sees" ;; esac
case $(readlink -f .) in "$home"/*) fail "$home holds the releases; clone the project elsewhere" ;; esac

# TensorRT comes from the system's packages, where a virtual environment sees it only if it is told to.
shared= extras=dashboard,fhir,pdf,postgresql
if "$python" -c 'import tensorrt' 2>/dev/null; then
    shared=--system-site-packages extras=$extras,jetson
fi
release=$home/releases/$(date -u +%Y%m%dT%H%M%SZ)-$$
mkdir -p "$home/releases"
trap 'rm -rf "$release"' EXIT
echo "making $release"
"$python" -m venv $shared "$release"
"$release/bin/python" -m pip --disable-pip-version-check --quiet install -c constraints.txt ".[$extras]"
"$release/bin/microscope-agent" --version
for name in microscope-doctor microscope-stored microscope-users; do
    install -m 755 systemd/as_service.sh "$release/bin/$name"
done
cp -r README.md docs "$release/"
commands="microscope-agent microscope-collect microscope-dashboard microscope-watch
    microscope-doctor microscope-stored microscope-users"

install -d -m 755 "$settings" "$units/microscope-agent.service.d"
for file in agent.toml collector.toml dashboard.toml environment; do
    [ -e "$settings/$file" ] || install -m 644 "systemd/$file" "$settings/$file"
done
install -m 644 systemd/microscope-*.service "$units/"
if [ -n "$shared" ]; then
    install -m 644 systemd/jetson.conf "$units/microscope-agent.service.d/"
else
    rm -f "$units/microscope-agent.service.d/jetson.conf"
fi

before=$(readlink "$home/current" || true)
ln -sfn "$release" "$home/next"  # also over what an upgrade that was cut off has left
mv -T "$home/next" "$home/current"
trap - EXIT
for name in $commands; do  # on the PATH; what others put there stays
    [ -e "/usr/local/bin/$name" ] && [ ! -L "/usr/local/bin/$name" ] || ln -sfn "$home/current/bin/$name" /usr/local/bin/
done
for old in "$home"/releases/*; do
    [ "$old" = "$release" ] || [ "$old" = "$before" ] || rm -rf "$old"
done

command -v systemctl >/dev/null && [ -d /run/systemd/system ] || { echo "installed; systemd does not run here"; exit 0; }
systemctl daemon-reload
for unit in microscope-agent microscope-collect microscope-dashboard; do
    if systemctl --quiet is-active "$unit"; then systemctl restart "$unit" && echo "restarted $unit"; fi
done
[ -n "$before" ] || cat <<TEXT
installed. Next:
  1. edit $settings/agent.toml
  2. microscope-doctor
  3. systemctl enable --now microscope-agent
Where the reports are to be stored: systemctl enable --now microscope-collect, and outbox.forget_on = "consumer" in the
settings of each agent, so that nothing is lost even if the broker is.
The page where people look and review: microscope-users add NAME, then systemctl enable --now microscope-dashboard; it
stores the reports as well, so leave microscope-collect out, or set collect = false in $settings/dashboard.toml.
TEXT
