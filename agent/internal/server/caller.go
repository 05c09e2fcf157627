// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"
)

// rootOnly accepts connections of root.
type rootOnly struct {
	net.Listener
	log *slog.Logger
}

// Accept is the next connection of root; others are closed.
func (l rootOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		cred, err := peer(conn)
		if err == nil && cred.Uid == 0 {
			return conn, nil
		}
		l.log.Warn("refused connection", "peer", cred, "error", err)
		conn.Close()
	}
}

func peer(conn net.Conn) (cred *unix.Ucred, err error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("connection is %T, not a unix socket", conn)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, controlErr)
}

// caller is the process that made a connection, as the kernel tells.
type caller struct {
	credentials.CommonAuthInfo
	uid, pid int64
}

// AuthType is credentials.AuthInfo.
func (caller) AuthType() string { return "unix" }

// LogValue is user and process.
func (c caller) LogValue() slog.Value {
	return slog.GroupValue(slog.Int64("uid", c.uid), slog.Int64("pid", c.pid))
}

// callerOf is who makes a call; user and process are -1 where there is no telling.
func callerOf(ctx context.Context) caller {
	if p, ok := grpcpeer.FromContext(ctx); ok {
		if c, ok := p.AuthInfo.(caller); ok {
			return c
		}
	}
	return caller{uid: -1, pid: -1}
}

// byPeer has gRPC know the caller of a unix socket. Nothing is encrypted.
type byPeer struct{}

// ServerHandshake asks the kernel who has connected.
func (byPeer) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cred, err := peer(conn)
	if err != nil {
		return nil, nil, err
	}
	// What goes through the socket leaves the machine's memory for nobody to see.
	info := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return conn, caller{info, int64(cred.Uid), int64(cred.Pid)}, nil
}

// ClientHandshake refuses: these are a server's.
func (byPeer) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials of a server")
}

// Info names the protocol.
func (byPeer) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix"}
}

// Clone is byPeer itself: it has no state.
func (b byPeer) Clone() credentials.TransportCredentials { return b }

// OverrideServerName has nothing to override.
func (byPeer) OverrideServerName(string) error { return nil }
