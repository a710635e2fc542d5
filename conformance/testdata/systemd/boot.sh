#!/bin/bash
# Boots systemd with berth.service, in namespaces of its own, and runs check.sh as a unit there.
# The root directory is the machine's, with all changes in memory.
#
#	unshare --mount --propagation private --pid --fork --cgroup --kill-child boot.sh BERTH UNIT RESULT
set -euo pipefail
berth=$(realpath "$1") unit=$(realpath "$2") result=$(realpath "$3")
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
mkdir -p result
mount --bind "$result" result

# What docs/operate.md tells to do.
install -D -m 755 "$berth" usr/local/bin/berth
install -D -m 644 "$unit" etc/systemd/system/berth.service
chroot . useradd --system --home-dir /var/lib/berth --shell /usr/sbin/nologin berth
mkdir -p etc/berth
cat >etc/berth/berth.yaml <<'END'
http:
  addr: 127.0.0.1:82
audit:
  file: /var/log/berth/audit.log
END

install -m 755 "$scripts/check.sh" check.sh
cat >etc/systemd/system/check.service <<'END'
[Unit]
Wants=berth.service
After=berth.service
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
StandardOutput=file:/result/output
StandardError=inherit
ExecStart=/check.sh
END
exec chroot . env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=check.service --log-target=console --show-status=0
