// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/server"
)

func features(of kernel.Features) (list []server.Feature, probes map[string]bool) {
	for _, a := range of.All() {
		list = append(list, server.Feature{
			Name: string(a.Feature), Err: a.Err, Known: a.Err == nil || errors.Is(a.Err, kernel.ErrUnsupported),
		})
	}
	probes = map[string]bool{}
	for _, a := range of.InfoProbes() {
		probes[string(a.Feature)] = a.Err == nil
	}
	return list, probes
}
