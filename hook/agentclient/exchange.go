// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxRead bounds what is read of the server in one call, in bytes: an answer is
// a few hundred, and a stream of pings is no reason to go on reading.
const maxRead = 1 << 20

// theStream is the only stream of a connection: each call dials anew.
const theStream = 1

var errTooMuch = fmt.Errorf("more than %d bytes and still no answer", maxRead)

// exchange is one unary call on one connection. It is not safe for concurrent
// use: one goroutine sends what the windows grant, then reads until there is an
// answer or more room.
type exchange struct {
	w     io.Writer
	in    frameReader
	out   []byte // frames to send
	body  []byte // what is still to be sent of the request
	conn  int64  // send window of the connection
	strm  int64  // send window of the stream
	first int64  // initial window of streams, as the server set it
	ans   *answer
	// block collects a header block that goes on in CONTINUATION frames.
	block       []byte
	blockOpen   bool
	blockIsLast bool
}

// roundTrip sends message to method and reads the answer. timeout is what the
// server is told about the time that is left, none when 0 or less.
func roundTrip(rw io.ReadWriter, method string, message []byte, timeout time.Duration) error {
	x := &exchange{
		w:    rw,
		in:   frameReader{r: bufio.NewReader(rw), budget: maxRead},
		conn: initialWindow, strm: initialWindow, first: initialWindow,
		ans: newAnswer(),
	}
	x.body = binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	x.body = append(x.body, message...)

	x.out = append(x.out, preface...)
	noPush := []byte{0, settingEnablePush, 0, 0, 0, 0}
	x.out = appendFrame(x.out, frameSettings, 0, 0, noPush)
	x.out = appendFrame(x.out, frameHeaders, flagEndHeaders, theStream, requestHeaders(method, timeout))
	return x.run()
}

// requestHeaders encodes the call's headers without the dynamic table, so that
// no setting of the server can make them wrong.
func requestHeaders(method string, timeout time.Duration) []byte {
	list := [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "localhost"},
		{"content-type", "application/grpc"}, {"te", "trailers"}, {"user-agent", "boltseal"},
	}
	if timeout > 0 {
		list = append(list, [2]string{"grpc-timeout", grpcTimeout(timeout)})
	}
	var b []byte
	for _, field := range list {
		b = append(b, 0) // literal, not indexed, new name
		for _, s := range field {
			b = append(b, byte(len(s))) // no Huffman; all are shorter than 127 bytes
			b = append(b, s...)
		}
	}
	return b
}

// grpcTimeout spells a duration as gRPC does: at most eight digits and a unit.
func grpcTimeout(d time.Duration) string {
	const most = 99_999_999
	if us := d.Microseconds(); us <= most {
		return fmt.Sprintf("%du", max(us, 1))
	}
	return fmt.Sprintf("%dm", min(d.Milliseconds(), most))
}

// run sends and reads until the server has ended the stream.
func (x *exchange) run() error {
	var sendErr error
	for !x.ans.done {
		if sendErr == nil {
			// A server that hangs up early may have said why before it did, so
			// what it sent is still read.
			sendErr = x.send()
		}
		f, err := x.in.next()
		if err != nil {
			return errors.Join(sendErr, err)
		}
		if err := x.handle(f); err != nil {
			return err
		}
	}
	err := x.ans.result()
	if err == nil && len(x.body) > 0 {
		return errors.New("server said OK before it had the request")
	}
	return err
}

// send writes the frames that wait and as much of the request as the windows
// grant.
func (x *exchange) send() error {
	for room := min(x.conn, x.strm); len(x.body) > 0 && room > 0; room = min(x.conn, x.strm) {
		n := min(int64(len(x.body)), room, maxFrame)
		var flags uint8
		if n == int64(len(x.body)) {
			flags = flagEndStream
		}
		x.out = appendFrame(x.out, frameData, flags, theStream, x.body[:n])
		x.body = x.body[n:]
		x.conn -= n
		x.strm -= n
	}
	if len(x.out) == 0 {
		return nil
	}
	_, err := x.w.Write(x.out)
	x.out = x.out[:0]
	if err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	return nil
}

// handle takes in one frame.
func (x *exchange) handle(f frame) error {
	if x.blockOpen && (f.kind != frameContinuation || f.stream != theStream) {
		return errors.New("header block is broken off")
	}
	switch f.kind {
	case frameData, frameHeaders, frameReset, frameContinuation:
		if f.stream != theStream {
			return fmt.Errorf("frame of kind %d on stream %d, which was never opened", f.kind, f.stream)
		}
		return x.handleStream(f)
	case frameSettings:
		return x.handleSettings(f)
	case framePing:
		if f.stream != 0 || len(f.payload) != 8 {
			return errors.New("malformed PING")
		}
		if !f.has(flagAck) {
			x.out = appendFrame(x.out, framePing, flagAck, 0, f.payload)
		}
	case frameWindowUpdate:
		return x.handleWindow(f)
	case frameGoAway:
		return handleGoAway(f)
	case framePushPromise:
		return errors.New("server pushes, which it was told not to")
	}
	return nil
}

// handleStream takes in a frame of the call's own stream.
func (x *exchange) handleStream(f frame) error {
	switch f.kind {
	case frameReset:
		if len(f.payload) != 4 {
			return errors.New("malformed RST_STREAM")
		}
		return fmt.Errorf("server reset the call (HTTP/2 error %d)", binary.BigEndian.Uint32(f.payload))
	case frameData:
		piece, err := f.unpad()
		if err != nil {
			return err
		}
		return x.ans.data(piece, f.has(flagEndStream))
	case frameHeaders:
		piece, err := f.fragment()
		if err != nil {
			return err
		}
		x.block, x.blockOpen, x.blockIsLast = append(x.block[:0], piece...), true, f.has(flagEndStream)
	case frameContinuation:
		if !x.blockOpen {
			return errors.New("CONTINUATION without HEADERS")
		}
		if len(x.block)+len(f.payload) > maxHeaderBlock {
			return fmt.Errorf("header block larger than %d bytes", maxHeaderBlock)
		}
		x.block = append(x.block, f.payload...)
	}
	if !f.has(flagEndHeaders) {
		return nil
	}
	x.blockOpen = false
	return x.ans.headers(x.block, x.blockIsLast)
}

// handleSettings applies the one setting that matters here and acknowledges.
func (x *exchange) handleSettings(f frame) error {
	if f.stream != 0 || len(f.payload)%6 != 0 || (f.has(flagAck) && len(f.payload) != 0) {
		return errors.New("malformed SETTINGS")
	}
	if f.has(flagAck) {
		return nil
	}
	for p := f.payload; len(p) > 0; p = p[6:] {
		if binary.BigEndian.Uint16(p) != settingInitialWindow {
			continue
		}
		window := int64(binary.BigEndian.Uint32(p[2:]))
		if window > maxWindow {
			return fmt.Errorf("initial window of %d bytes", window)
		}
		// The new value holds for streams that are open already, too: the
		// window may become negative.
		x.strm += window - x.first
		x.first = window
		if x.strm > maxWindow {
			return errors.New("window overflows")
		}
	}
	x.out = appendFrame(x.out, frameSettings, flagAck, 0, nil)
	return nil
}

// handleWindow adds what the server grants.
func (x *exchange) handleWindow(f frame) error {
	if len(f.payload) != 4 {
		return errors.New("malformed WINDOW_UPDATE")
	}
	grant := int64(binary.BigEndian.Uint32(f.payload) & maxWindow)
	if grant == 0 {
		return errors.New("WINDOW_UPDATE of nothing")
	}
	switch f.stream {
	case 0:
		x.conn += grant
	case theStream:
		x.strm += grant
	default:
		return fmt.Errorf("WINDOW_UPDATE on stream %d, which was never opened", f.stream)
	}
	if max(x.conn, x.strm) > maxWindow {
		return errors.New("window overflows")
	}
	return nil
}

// handleGoAway goes on when the server will still answer this call.
func handleGoAway(f frame) error {
	if f.stream != 0 || len(f.payload) < 8 {
		return errors.New("malformed GOAWAY")
	}
	if last := binary.BigEndian.Uint32(f.payload) & maxWindow; last >= theStream {
		return nil
	}
	return fmt.Errorf("server goes away (HTTP/2 error %d)", binary.BigEndian.Uint32(f.payload[4:]))
}
