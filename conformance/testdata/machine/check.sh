#!/bin/bash
# Runs the commands of the pages and checks what they did. The last line is "passed".
set -euxo pipefail
trap 'journalctl --no-pager --unit berth' ERR

run() { # a block, as root
	bash -euxo pipefail "/share/commands/$1.sh"
	rm "/share/commands/$1.sh"
}

status() { # of an answer
	curl --silent --output /dev/null --write-out '%{http_code}' "$@"
}

runAsBerth() { # a block, as the server's user, in the directory /tmp/berth
	install -d -o berth /tmp/berth
	(cd /tmp/berth && runuser -u berth -- bash -euxo pipefail "/share/commands/$1.sh")
	rm "/share/commands/$1.sh"
}

# The service counts as started when it serves, not before: this is the first request.
run install
curl --fail --silent --show-error http://127.0.0.1:5000/readyz
[ "$(ps -o user= -p "$(systemctl show --property=MainPID --value berth)")" = berth ]
[ "$(stat --format '%U %a' /var/lib/berth/berth.db)" = 'berth 600' ]

# A port below 1024, and an audit file.
cat >/etc/berth/berth.yaml <<'END'
http:
  addr: 127.0.0.1:82
audit:
  file: /var/log/berth/audit.log
END
systemctl restart berth

# A push, and its line in the audit file after a rotation.
mv /var/log/berth/audit.log /var/log/berth/audit.log.1
systemctl reload berth
until [ -e /var/log/berth/audit.log ]; do sleep 0.1; done
blob=sha256:$(printf hello | sha256sum | cut -d' ' -f1)
[ "$(status -X POST -H 'Content-Type: application/octet-stream' --data-binary hello \
	"http://127.0.0.1:82/v2/app/blobs/uploads/?digest=$blob")" = 201 ]

# A restart has the blob, and so has a restore after the loss of the data.
run backup
systemctl restart berth
[ "$(curl --fail --silent "http://127.0.0.1:82/v2/app/blobs/$blob")" = hello ]
[ -s /var/log/berth/audit.log ]
systemctl stop berth
[ "$(systemctl show --property=Result --value berth)" = success ]
rm -r /var/lib/berth
run restore
[ "$(curl --fail --silent "http://127.0.0.1:82/v2/app/blobs/$blob")" = hello ]

# Accounts, beside the running server.
cat >>/etc/berth/berth.yaml <<'END'
data: /var/lib/berth
auth:
  mode: berth
END
systemctl restart berth
. /share/commands/config.sh && rm /share/commands/config.sh
runAsBerth robot
[ "$(status --user "robot+deployer:$(cat /tmp/berth/deployer.token)" http://127.0.0.1:82/v2/)" = 401 ] # not its address
runAsBerth next-token
runAsBerth certificate
grep 'BEGIN CERTIFICATE' /tmp/berth/berth.pem

[ -z "$(ls /share/commands)" ] # each block has run
echo passed
