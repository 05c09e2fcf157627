// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The parts of HTTP/2 (RFC 9113) that one request needs.
const (
	preface         = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHeaderSize = 9
	// maxFrame is the largest payload that either side may send without a
	// setting that says otherwise; this side sets none.
	maxFrame = 16384
	// initialWindow is what either side may send before the other grants more.
	initialWindow = 65535
	// maxWindow is the largest window that may ever be granted.
	maxWindow = 1<<31 - 1
)

// frameType is the kind of a frame. A kind that is not listed is skipped.
type frameType uint8

const (
	frameData         frameType = 0x0
	frameHeaders      frameType = 0x1
	frameReset        frameType = 0x3
	frameSettings     frameType = 0x4
	framePushPromise  frameType = 0x5
	framePing         frameType = 0x6
	frameGoAway       frameType = 0x7
	frameWindowUpdate frameType = 0x8
	frameContinuation frameType = 0x9
)

const (
	flagAck        = 0x1 // SETTINGS, PING
	flagEndStream  = 0x1 // DATA, HEADERS
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	settingEnablePush    = 0x2
	settingInitialWindow = 0x4
)

// frame is one received frame. Its payload is valid until the next is read.
type frame struct {
	kind    frameType
	flags   uint8
	stream  uint32
	payload []byte
}

func (f frame) has(flag uint8) bool { return f.flags&flag != 0 }

// appendFrame appends one frame to b.
func appendFrame(b []byte, kind frameType, flags uint8, stream uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), byte(kind), flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, payload...)
}

// frameReader reads frames, at most budget bytes of them.
type frameReader struct {
	r      io.Reader
	budget int
	buf    [maxFrame]byte
}

// next reads one frame. A frame that is too long, or that goes beyond the
// budget, is an error before any of its payload is read.
func (fr *frameReader) next() (frame, error) {
	var head [frameHeaderSize]byte
	if _, err := io.ReadFull(fr.r, head[:]); err != nil {
		return frame{}, fmt.Errorf("read frame header: %w", err)
	}
	n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if n > maxFrame {
		return frame{}, fmt.Errorf("frame of %d bytes, more than %d", n, maxFrame)
	}
	if fr.budget -= frameHeaderSize + n; fr.budget < 0 {
		return frame{}, errTooMuch
	}
	if _, err := io.ReadFull(fr.r, fr.buf[:n]); err != nil {
		return frame{}, fmt.Errorf("read frame payload: %w", err)
	}
	return frame{
		kind:    frameType(head[3]),
		flags:   head[4],
		stream:  binary.BigEndian.Uint32(head[5:]) & maxWindow,
		payload: fr.buf[:n],
	}, nil
}

// unpad takes the padding off a DATA or HEADERS payload.
func (f frame) unpad() ([]byte, error) {
	p := f.payload
	if !f.has(flagPadded) {
		return p, nil
	}
	if len(p) == 0 || int(p[0]) > len(p)-1 {
		return nil, fmt.Errorf("padding of a frame of %d bytes is longer than the frame", len(p))
	}
	return p[1 : len(p)-int(p[0])], nil
}

// fragment takes padding and priority off a HEADERS payload.
func (f frame) fragment() ([]byte, error) {
	p, err := f.unpad()
	if err != nil || !f.has(flagPriority) {
		return p, err
	}
	if len(p) < 5 {
		return nil, fmt.Errorf("HEADERS frame of %d bytes is too short for its priority", len(p))
	}
	return p[5:], nil
}
