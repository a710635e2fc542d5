#!/bin/bash
# Boots systemd in namespaces of its own and runs check.sh as a unit there. The root directory is
# the machine's, with all changes in memory. /src has what a source directory has after make build.
#
#	unshare --mount --propagation private --pid --fork --cgroup --kill-child boot.sh BERTH DEPLOY SHARE
set -euo pipefail
berth=$(realpath "$1") deploy=$(realpath "$2") share=$(realpath "$3")
scripts=$(realpath "$(dirname "$0")")

mount -t tmpfs tmpfs /mnt
mkdir /mnt/{upper,work,root}
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount --rbind /dev dev
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mkdir -p share src/bin
mount --bind "$share" share
cp "$berth" src/bin/berth
cp -r "$deploy" src/deploy

install -m 755 "$scripts/check.sh" check.sh
cat >etc/systemd/system/check.service <<'END'
[Unit]
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
WorkingDirectory=/src
StandardOutput=file:/share/output
StandardError=inherit
ExecStart=/check.sh
END
exec chroot . env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=check.service --log-target=console --show-status=0
