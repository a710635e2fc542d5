package server

import (
	"github.com/coreos/go-systemd/v22/daemon"
)

// notify sends a state to the service manager, if the process has one that listens (sd_notify(3)).
// A failure is logged: systemd then ends the service after its TimeoutStartSec, and the log says
// why.
func (s *server) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("the service manager was not told", "state", state, "error", err)
	}
}
