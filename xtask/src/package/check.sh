#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Given a package, in namespaces of its own: installs it on a copy of this machine, looks at it, starts the daemon as its
# unit does, asks it with containerd's client, and removes it.
set -eu
package=$1

mount --make-rprivate /
mount -t tmpfs -o mode=755 shimkeeper-package /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work shimkeeper-package /mnt/root
mkdir -p /mnt/root/proc /mnt/root/run /mnt/root/dev
mount -t proc proc /mnt/root/proc
mount -t tmpfs -o mode=755 run /mnt/root/run
mount --rbind /dev /mnt/root/dev
cp "$package" /mnt/root/package.deb

exec chroot /mnt/root /bin/sh -eu <<'INSIDE'
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
unit=/usr/lib/systemd/system/shimkeeper.service
socket=/run/shimkeeper/shimkeeper.sock
fail() { echo "package: $*" >&2; exit 1; }

dpkg --install /package.deb
differs=$(dpkg --verify shimkeeper)
[ -z "$differs" ] || fail "it is not installed as it was packed: $differs"
for file in /usr/share/man/man1/shimkeeper-daemon.1.gz /usr/share/zsh/vendor-completions/_shimkeeper \
    /usr/share/fish/vendor_completions.d/shimkeeper.fish /usr/share/doc/shimkeeper/docs/operating.md; do
    [ -s "$file" ] || fail "$file is missing"
done
sh=$(command -v bash) && "$sh" -n /usr/share/bash-completion/completions/shimkeeper
shimkeeper config check --config /etc/shimkeeper/config.toml
if command -v systemd-analyze >/dev/null; then
    # It says what is wrong, and with some versions fails only for the worst.
    said=$(systemd-analyze verify --man=no "$unit" 2>&1 | grep -i shimkeeper || true)
    [ -z "$said" ] || fail "the unit: $said"
fi
if command -v systemd-tmpfiles >/dev/null; then
    [ "$(stat -c %a /run/shimkeeper)" = 711 ] || fail "/run/shimkeeper is not for passing through"
fi

command=$(sed -n 's/^ExecStart=//p' "$unit")
$command 2>/daemon.log &
daemon=$!
tries=600
until ctr --address "$socket" version >/version 2>/ctr.log; do
    kill -0 "$daemon" 2>/dev/null || fail "the daemon has ended: $(cat /daemon.log)"
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "no answer: $(cat /ctr.log /daemon.log)"
    sleep 0.1
done
grep -A2 '^Server:' /version
version=$(dpkg-query --show --showformat '${Version}' shimkeeper)
grep -q "Version: *${version%-*}\$" /version || fail "another version than $version: $(cat /version)"
kill -TERM "$daemon"
wait "$daemon" || fail "it did not end well: $(cat /daemon.log)"
[ ! -e "$socket" ] || fail "$socket is left"

dpkg --purge shimkeeper
[ ! -e /usr/bin/shimkeeper ] && [ ! -e /etc/shimkeeper/config.toml ] || fail "purged, it is still there"
INSIDE
