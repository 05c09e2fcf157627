// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const (
	unixScheme = "unix://"
	// maxAnswer bounds one answer: 10,000 containers with their labels.
	maxAnswer = 256 << 20
)

// agent is the services of a running agent.
type agent struct {
	tetragon.FineGuidanceSensorsClient
	tetragon.EventLogServiceClient
	boltseal.BoltsealClient
}

// socketPath is the path in a server address.
func socketPath(address string) (string, error) {
	path := strings.TrimPrefix(address, unixScheme)
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("server address %q: not a unix socket: write unix:///path", address)
	}
	return path, nil
}

// ask runs do with a connection to the agent and the time of one call.
func (a *app) ask(do func(ctx context.Context, g agent, args []string) error) func(*cobra.Command, []string) error {
	return a.stream(func(ctx context.Context, g agent, args []string) error {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		return do(ctx, g, args)
	})
}

// stream is ask without a limit of time.
func (a *app) stream(do func(ctx context.Context, g agent, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		// The connection is made by the first call.
		conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(a.address, unixScheme),
			grpc.WithContextDialer(dial),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithAuthority("localhost"),
			grpc.WithNoProxy(),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
		if err != nil {
			return fmt.Errorf("use server address %s: %w", a.address, err)
		}
		defer conn.Close()
		return do(c.Context(), agent{tetragon.NewFineGuidanceSensorsClient(conn), tetragon.NewEventLogServiceClient(conn), boltseal.NewBoltsealClient(conn)}, args)
	}
}
