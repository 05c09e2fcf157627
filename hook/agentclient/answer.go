// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

const (
	// maxAnswer bounds the answer's message in bytes; RuntimeHookResponse is empty.
	maxAnswer = 32 << 10
	// maxHeaderBlock bounds one compressed header block in bytes.
	maxHeaderBlock = 32 << 10
	// messagePrefix is the length of what gRPC puts before a message: one byte of
	// flags and four of length.
	messagePrefix = 5
)

// answer collects the server's side of the call: headers, message, trailers.
type answer struct {
	decoder  *hpack.Decoder
	began    bool // the response headers were read
	done     bool // the server ended the stream
	status   string
	message  string
	contents []byte
}

// fields is what is kept of one header block.
type fields struct {
	httpStatus, contentType, grpcStatus, grpcMessage string
	repeated                                         string
}

func newAnswer() *answer {
	a := &answer{decoder: hpack.NewDecoder(4096, nil)}
	a.decoder.SetMaxStringLength(maxHeaderBlock)
	return a
}

// decode decompresses one header block.
func (a *answer) decode(block []byte) (fields, error) {
	var f fields
	keep := func(to *string, field hpack.HeaderField) {
		if *to != "" {
			f.repeated = field.Name
		}
		*to = field.Value
	}
	a.decoder.SetEmitFunc(func(field hpack.HeaderField) {
		switch field.Name {
		case ":status":
			keep(&f.httpStatus, field)
		case "content-type":
			keep(&f.contentType, field)
		case "grpc-status":
			keep(&f.grpcStatus, field)
		case "grpc-message":
			keep(&f.grpcMessage, field)
		}
	})
	if _, err := a.decoder.Write(block); err != nil {
		return fields{}, fmt.Errorf("decode headers: %w", err)
	}
	if err := a.decoder.Close(); err != nil {
		return fields{}, fmt.Errorf("decode headers: %w", err)
	}
	if f.repeated != "" {
		return fields{}, fmt.Errorf("header %s stands twice", f.repeated)
	}
	return f, nil
}

// headers takes in one whole header block: the response headers, an interim
// response, or the trailers.
func (a *answer) headers(block []byte, end bool) error {
	f, err := a.decode(block)
	if err != nil {
		return err
	}
	if a.began {
		if !end || f.httpStatus != "" {
			return errors.New("second header block is no trailer")
		}
		return a.finish(f)
	}
	if len(f.httpStatus) == 3 && f.httpStatus[0] == '1' && !end {
		return nil
	}
	if f.httpStatus != "200" {
		return fmt.Errorf("HTTP status %q: no gRPC server", clip(f.httpStatus))
	}
	// application/grpc, perhaps with a +format or a parameter.
	rest, ok := strings.CutPrefix(f.contentType, "application/grpc")
	if !ok || (rest != "" && rest[0] != '+' && rest[0] != ';') {
		return fmt.Errorf("content type %q: no gRPC server", clip(f.contentType))
	}
	a.began = true
	if end {
		return a.finish(f)
	}
	return nil
}

// data takes in a piece of the message.
func (a *answer) data(piece []byte, end bool) error {
	if !a.began {
		return errors.New("data before headers")
	}
	if len(a.contents)+len(piece) > maxAnswer {
		return fmt.Errorf("answer larger than %d bytes", maxAnswer)
	}
	a.contents = append(a.contents, piece...)
	if end {
		return errors.New("stream ended without a grpc-status")
	}
	return nil
}

// finish takes in the trailers, which may have come with the headers.
func (a *answer) finish(f fields) error {
	if f.grpcStatus == "" {
		return errors.New("stream ended without a grpc-status")
	}
	a.status, a.message, a.done = f.grpcStatus, f.grpcMessage, true
	return nil
}

// result is nil when the agent acknowledged, a *StatusError when it answered
// otherwise, and another error when this is no answer to the call.
func (a *answer) result() error {
	code, err := strconv.ParseUint(a.status, 10, 32)
	if err != nil || (len(a.status) > 1 && a.status[0] == '0') {
		return fmt.Errorf("grpc-status %q is no number", clip(a.status))
	}
	if Code(code) != OK {
		return &StatusError{Code: Code(code), Message: decodeMessage(a.message)}
	}
	// An acknowledgement must be whole: a proxy or another server that says OK
	// to anything is not the agent.
	if len(a.contents) < messagePrefix {
		return errors.New("status OK without a message")
	}
	if a.contents[0] != 0 {
		return errors.New("message is compressed, which was not offered")
	}
	if n := binary.BigEndian.Uint32(a.contents[1:]); int64(n) != int64(len(a.contents)-messagePrefix) {
		return fmt.Errorf("message of %d bytes announces %d", len(a.contents)-messagePrefix, n)
	}
	return nil
}

// clip shortens a server's text for an error.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
