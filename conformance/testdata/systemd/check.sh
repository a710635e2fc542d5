#!/bin/bash
# Checks berth.service from inside of the machine that boot.sh has booted. Its last line is "passed".
set -euxo pipefail
trap 'journalctl --no-pager --unit berth' EXIT

# The service counts as started when it serves, and not before: this is the first request.
curl --fail --silent --show-error http://127.0.0.1:82/readyz
[ "$(ps -o user= -p "$(systemctl show --property=MainPID --value berth)")" = berth ]
[ "$(stat --format '%U %a' /var/lib/berth/berth.db)" = 'berth 600' ]

# A push, and its line in the audit file after a rotation.
blob=sha256:$(printf hello | sha256sum | cut -d' ' -f1)
mv /var/log/berth/audit.log /var/log/berth/audit.log.1
systemctl reload berth
until [ -e /var/log/berth/audit.log ]; do sleep 0.1; done
[ "$(curl --silent --output /dev/null --write-out '%{http_code}' -X POST -H 'Content-Type: application/octet-stream' \
	--data-binary hello "http://127.0.0.1:82/v2/app/blobs/uploads/?digest=$blob")" = 201 ]

systemctl restart berth
[ "$(curl --fail --silent "http://127.0.0.1:82/v2/app/blobs/$blob")" = hello ]
[ -s /var/log/berth/audit.log ]
systemctl stop berth
[ "$(systemctl show --property=Result --value berth)" = success ]
echo passed
