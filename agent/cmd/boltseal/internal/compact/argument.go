// SPDX-License-Identifier: Apache-2.0

package compact

import (
	"encoding/hex"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// argument is the value of one argument, whatever its type, as one word of the
// line or text in quotes.
func argument(a *tetragon.KprobeArgument) string {
	switch arg := a.GetArg().(type) {
	case *tetragon.KprobeArgument_FileArg:
		return path(arg.FileArg)
	case *tetragon.KprobeArgument_PathArg:
		return path(arg.PathArg)
	case *tetragon.KprobeArgument_LinuxBinprmArg:
		return path(arg.LinuxBinprmArg)
	case *tetragon.KprobeArgument_SockArg:
		return connection(arg.SockArg)
	case *tetragon.KprobeArgument_SkbArg:
		return connection(arg.SkbArg)
	case *tetragon.KprobeArgument_SockaddrArg:
		return endpoint(arg.SockaddrArg.GetFamily(), arg.SockaddrArg.GetAddr(), arg.SockaddrArg.GetPort())
	case *tetragon.KprobeArgument_ProcessCredentialsArg:
		c := arg.ProcessCredentialsArg
		return fmt.Sprintf("uid:%d,gid:%d,euid:%d,egid:%d",
			c.GetUid().GetValue(), c.GetGid().GetValue(), c.GetEuid().GetValue(), c.GetEgid().GetValue())
	case *tetragon.KprobeArgument_CapabilityArg:
		return quote.Word(arg.CapabilityArg.GetName())
	case *tetragon.KprobeArgument_SyscallId:
		return quote.Word(fmt.Sprintf("%d/%s", arg.SyscallId.GetId(), arg.SyscallId.GetAbi()))
	case *tetragon.KprobeArgument_BytesArg:
		return octets(arg.BytesArg, "")
	case *tetragon.KprobeArgument_TruncatedBytesArg:
		return octets(arg.TruncatedBytesArg.GetBytesArg(), " or more")
	}
	return scalar(a)
}

// scalar is text or a number, and of what has no form here the name.
func scalar(a *tetragon.KprobeArgument) string {
	m := a.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("arg"))
	if field == nil {
		return "-"
	}
	switch v := m.Get(field); field.Kind() {
	case protoreflect.StringKind:
		return quote.String(v.String(), maxText)
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return v.String()
	}
	return "(" + string(field.Name()) + ")"
}

// octets are bytes in hexadecimal; more follows the number of those that are there.
func octets(b []byte, more string) string {
	if len(b) <= maxText/2 && more == "" {
		return "0x" + hex.EncodeToString(b)
	}
	return fmt.Sprintf("0x%s...(%d bytes%s)", hex.EncodeToString(b[:min(len(b), maxText/2)]), len(b), more)
}

// path is a file's path, and what keeps it from being whole.
func path(f interface {
	GetPath() string
	GetFlags() string
}) string {
	text := quote.String(f.GetPath(), maxText)
	if f.GetFlags() != "" {
		text += "(" + quote.Word(f.GetFlags()) + ")"
	}
	return text
}

// connection is from where to where, of the families that have addresses, and by
// which protocol.
func connection(s interface {
	GetFamily() string
	GetProtocol() string
	GetSaddr() string
	GetDaddr() string
	GetSport() uint32
	GetDport() uint32
}) string {
	if s.GetSaddr() == "" && s.GetDaddr() == "" {
		return quote.Word(s.GetFamily())
	}
	return quote.Word(s.GetProtocol() + "/" + hostPort(s.GetSaddr(), s.GetSport()) + "->" + hostPort(s.GetDaddr(), s.GetDport()))
}

func endpoint(family, address string, port uint32) string {
	if address == "" {
		return quote.Word(family)
	}
	return quote.Word(hostPort(address, port))
}

func hostPort(address string, port uint32) string {
	return net.JoinHostPort(address, strconv.FormatUint(uint64(port), 10))
}
