// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// script builds what a server sends.
type script struct{ b []byte }

func (s *script) frame(kind frameType, flags uint8, stream uint32, payload ...byte) *script {
	s.b = appendFrame(s.b, kind, flags, stream, payload)
	return s
}

// block encodes a header block; encoders of one connection share their table,
// so each block of a script comes from a fresh one without a dynamic table.
func block(pairs ...string) []byte {
	var out bytes.Buffer
	encoder := hpack.NewEncoder(&out)
	encoder.SetMaxDynamicTableSize(0)
	for i := 0; i < len(pairs); i += 2 {
		if err := encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}); err != nil {
			panic(err)
		}
	}
	return out.Bytes()
}

func (s *script) headers(flags uint8, pairs ...string) *script {
	return s.frame(frameHeaders, flags, theStream, block(pairs...)...)
}

// hello is a server's first frame and the response headers.
func hello() *script {
	return new(script).frame(frameSettings, 0, 0).
		headers(flagEndHeaders, ":status", "200", "content-type", "application/grpc")
}

func (s *script) trailers(pairs ...string) *script {
	return s.headers(flagEndHeaders|flagEndStream, pairs...)
}

// empty is a whole empty gRPC message.
var empty = []byte{0, 0, 0, 0, 0}

// good is an acknowledgement.
func good() *script {
	return hello().frame(frameData, 0, theStream, empty...).trailers("grpc-status", "0")
}

// play runs one exchange against what a server sends; what the client sends is
// dropped.
func play(sent []byte, request []byte) error {
	rw := struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(sent), io.Discard}
	return roundTrip(rw, methodRuntimeHook, request, time.Second)
}

func TestExchangeAccepts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("v", 20_000)
	blockOf := block("grpc-status", "0", "x-long", long)
	for name, s := range map[string]*script{
		"plain": good(),
		"other settings": new(script).frame(frameSettings, 0, 0, 0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 1, 0).
			frame(frameSettings, flagAck, 0).frame(framePing, 0, 0, make([]byte, 8)...).
			frame(frameWindowUpdate, 0, 0, 0, 0, 0, 9).frame(0x2, 0, theStream, make([]byte, 5)...).frame(0xee, 0xff, 77, 1, 2).
			headers(flagEndHeaders, ":status", "200", "content-type", "application/grpc+proto").
			frame(frameData, 0, theStream, empty...).trailers("grpc-status", "0"),
		"interim response": new(script).headers(flagEndHeaders, ":status", "103").
			headers(flagEndHeaders, ":status", "200", "content-type", "application/grpc; x=y").
			frame(frameData, 0, theStream, empty...).trailers("grpc-status", "0", "grpc-message", ""),
		"padding and priority": new(script).frame(frameSettings, 0, 0).
			frame(frameHeaders, flagEndHeaders|flagPadded|flagPriority, theStream,
				append(append([]byte{2, 0, 0, 0, 0, 0}, block(":status", "200", "content-type", "application/grpc")...), 0, 0)...).
			frame(frameData, flagPadded, theStream, 1, 0, 0, 0, 0, 0, 9).trailers("grpc-status", "0"),
		"message in pieces": hello().frame(frameData, 0, theStream, 0, 0).frame(frameData, 0, theStream).
			frame(frameData, 0, theStream, 0, 0, 2, 8, 1).trailers("grpc-status", "0"),
		"continuation": hello().frame(frameData, 0, theStream, empty...).
			frame(frameHeaders, flagEndStream, theStream, blockOf[:3]...).
			frame(frameContinuation, 0, theStream, blockOf[3:1000]...).
			frame(frameContinuation, 0, theStream, blockOf[1000:9000]...).
			frame(frameContinuation, flagEndHeaders, theStream, blockOf[9000:]...),
		"goes away after this call": hello().frame(frameGoAway, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0).
			frame(frameData, 0, theStream, empty...).trailers("grpc-status", "0"),
	} {
		if err := play(s.b, []byte("request")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExchangeStatus(t *testing.T) {
	t.Parallel()
	only := new(script).headers(flagEndHeaders|flagEndStream, ":status", "200", "content-type", "application/grpc",
		"grpc-status", "7", "grpc-message", "no%21")
	after := hello().trailers("grpc-status", "7", "grpc-message", "no!")
	for name, s := range map[string]*script{"trailers only": only, "trailers": after} {
		var got *StatusError
		if err := play(s.b, []byte("x")); !errors.As(err, &got) || got.Code != PermissionDenied || got.Message != "no!" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A server may decline before it has the whole request.
	if err := play(after.b, make([]byte, 1<<20)); OutcomeOf(err).Cause != Refused {
		t.Errorf("early refusal: %v", err)
	}
}

// TestExchangeRefuses lists what must never count as an acknowledgement, nor as
// an answer of the agent.
func TestExchangeRefuses(t *testing.T) {
	t.Parallel()
	grpcHeaders := []string{":status", "200", "content-type", "application/grpc"}
	huge := make([]byte, maxFrame)
	tooMuch := new(script)
	for len(tooMuch.b) < 2*maxRead {
		tooMuch.frame(framePing, 0, 0, make([]byte, 8)...)
	}
	manyBlocks := hello().frame(frameHeaders, 0, theStream)
	for range 4 {
		manyBlocks.frame(frameContinuation, 0, theStream, huge...)
	}
	for name, c := range map[string]struct {
		s    *script
		want string
	}{
		"nothing":           {new(script), "EOF"},
		"half a header":     {&script{b: []byte{0, 0, 4}}, "EOF"},
		"half a frame":      {&script{b: good().b[:len(good().b)-1]}, "EOF"},
		"no trailers":       {&script{b: hello().frame(frameData, 0, theStream, empty...).b}, "EOF"},
		"HTTP/1":            {&script{b: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")}, "frame of"},
		"huge frame":        {&script{b: []byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1}}, "frame of 16777215"},
		"endless pings":     {tooMuch, "still no answer"},
		"reset":             {hello().frame(frameReset, 0, theStream, 0, 0, 0, 8), "reset the call (HTTP/2 error 8)"},
		"short reset":       {hello().frame(frameReset, 0, theStream, 8), "malformed RST_STREAM"},
		"goes away":         {new(script).frame(frameGoAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2), "goes away (HTTP/2 error 2)"},
		"short goaway":      {new(script).frame(frameGoAway, 0, 0, 0), "malformed GOAWAY"},
		"push":              {hello().frame(framePushPromise, 4, theStream, 0, 0, 0, 2), "pushes"},
		"stream 3 headers":  {hello().frame(frameHeaders, flagEndHeaders, 3), "stream 3"},
		"stream 3 window":   {hello().frame(frameWindowUpdate, 0, 3, 0, 0, 0, 1), "stream 3"},
		"stream 0 data":     {hello().frame(frameData, 0, 0), "stream 0"},
		"data first":        {new(script).frame(frameData, 0, theStream, empty...), "data before headers"},
		"no window":         {hello().frame(frameWindowUpdate, 0, 0, 0, 0, 0, 0), "of nothing"},
		"window overflow":   {hello().frame(frameWindowUpdate, 0, 0, 0x7f, 0xff, 0xff, 0xff), "overflows"},
		"window setting":    {new(script).frame(frameSettings, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff), "initial window"},
		"odd settings":      {new(script).frame(frameSettings, 0, 0, 0, 4, 0), "malformed SETTINGS"},
		"ping too short":    {new(script).frame(framePing, 0, 0, 1), "malformed PING"},
		"padding too long":  {hello().frame(frameData, flagPadded, theStream, 9, 1), "padding"},
		"priority too long": {hello().frame(frameHeaders, flagPriority, theStream, 1), "priority"},
		"broken block":      {new(script).frame(frameHeaders, flagEndHeaders, theStream, 0xff, 0xff, 0xff, 0xff, 0xff), "decode headers"},
		"block broken off":  {hello().frame(frameHeaders, 0, theStream).frame(framePing, 0, 0, make([]byte, 8)...), "broken off"},
		"huge block":        {manyBlocks, "header block larger"},
		"lone continuation": {hello().frame(frameContinuation, flagEndHeaders, theStream), "without HEADERS"},
		"HTTP 404":          {new(script).trailers(":status", "404"), "HTTP status"},
		"HTTP 200 html":     {new(script).headers(flagEndHeaders, ":status", "200", "content-type", "text/html"), "content type"},
		"grpc-web":          {new(script).headers(flagEndHeaders, ":status", "200", "content-type", "application/grpc-web"), "content type"},
		"no status header":  {new(script).headers(flagEndHeaders, "content-type", "application/grpc"), "HTTP status"},
		"interim end":       {new(script).trailers(":status", "100"), "HTTP status"},
		"no grpc-status":    {hello().frame(frameData, 0, theStream, empty...).trailers("x", "y"), "without a grpc-status"},
		"data ends it":      {hello().frame(frameData, flagEndStream, theStream, empty...), "without a grpc-status"},
		"OK, no message":    {hello().trailers("grpc-status", "0"), "without a message"},
		"OK, headers only":  {new(script).trailers(append(grpcHeaders, "grpc-status", "0")...), "without a message"},
		"OK, cut message":   {hello().frame(frameData, 0, theStream, 0, 0, 0, 0, 9, 1).trailers("grpc-status", "0"), "announces 9"},
		"OK, two messages":  {hello().frame(frameData, 0, theStream, append(empty, empty...)...).trailers("grpc-status", "0"), "announces 0"},
		"OK, compressed":    {hello().frame(frameData, 0, theStream, 1, 0, 0, 0, 0).trailers("grpc-status", "0"), "compressed"},
		"status empty":      {hello().frame(frameData, 0, theStream, empty...).trailers("grpc-status", ""), "without a grpc-status"},
		"status no number":  {hello().frame(frameData, 0, theStream, empty...).trailers("grpc-status", "zero"), "no number"},
		"status 00":         {hello().frame(frameData, 0, theStream, empty...).trailers("grpc-status", "00"), "no number"},
		"status -0":         {hello().frame(frameData, 0, theStream, empty...).trailers("grpc-status", "-0"), "no number"},
		"status 2^32":       {hello().frame(frameData, 0, theStream, empty...).trailers("grpc-status", "4294967296"), "no number"},
		"status twice":      {hello().frame(frameData, 0, theStream, empty...).trailers("grpc-status", "7", "grpc-status", "0"), "stands twice"},
		"headers twice":     {hello().headers(flagEndHeaders, "grpc-status", "0"), "no trailer"},
		"status in trailer": {hello().trailers(":status", "200", "grpc-status", "0"), "no trailer"},
		"huge answer":       {hello().frame(frameData, 0, theStream, huge...).frame(frameData, 0, theStream, huge...).frame(frameData, 0, theStream, 1), "answer larger"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := play(c.s.b, []byte("request"))
			var answered *StatusError
			if err == nil || errors.As(err, &answered) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
	if err := play(good().b, make([]byte, 1<<20)); err == nil || !strings.Contains(err.Error(), "before it had the request") {
		t.Errorf("OK before the request was sent: %v", err)
	}
}

// TestExchangeKeepsToTheWindows has servers that grant little and count.
func TestExchangeKeepsToTheWindows(t *testing.T) {
	t.Parallel()
	const plenty, step = 1 << 20, 5_000
	request := bytes.Repeat([]byte("r"), 100_000)
	want := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...)
	for name, server := range map[string]*narrow{
		"connection": {narrowStream: 0, wideStream: theStream, granted: initialWindow, step: step},
		// The setting takes back what the stream was granted at first, so the
		// first update pays the debt.
		"stream": {narrowStream: theStream, wideStream: 0, granted: 10_000, step: step,
			settings: binary.BigEndian.AppendUint32([]byte{0, settingInitialWindow}, 10_000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, conn := net.Pipe()
			got := make(chan []byte, 1)
			go func() {
				defer conn.Close()
				got <- server.serve(t, conn, len(want), plenty)
			}()
			err := roundTrip(client, methodRuntimeHook, request, 0)
			client.Close()
			if body := <-got; err != nil || !bytes.Equal(body, want) {
				t.Errorf("%v; %d bytes", err, len(body))
			}
		})
	}
}

// narrow is a server one of whose windows is narrow.
type narrow struct {
	narrowStream, wideStream uint32
	settings                 []byte
	granted, step            int // of the narrow window, in bytes
}

// serve reads a request of total bytes, asks for a sign of life, and
// acknowledges.
func (n *narrow) serve(t *testing.T, conn net.Conn, total, plenty int) []byte {
	buf := make([]byte, len(preface))
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != preface {
		t.Errorf("preface %q, %v", buf, err)
		return nil
	}
	// net.Pipe has no buffer, so what is sent goes out beside the reading, in
	// order.
	send, sent := make(chan []byte, 100), make(chan struct{})
	defer func() {
		close(send)
		<-sent
	}()
	go func() {
		defer close(sent)
		for b := range send {
			conn.Write(b)
		}
	}()
	grant := func(stream uint32, size int) {
		send <- new(script).frame(frameWindowUpdate, 0, stream, binary.BigEndian.AppendUint32(nil, uint32(size))...).b
	}
	send <- new(script).frame(frameSettings, 0, 0, n.settings...).b
	grant(n.wideStream, plenty)
	in := frameReader{r: conn, budget: 1 << 30}
	var body []byte
	for pinged := false; ; {
		f, err := in.next()
		if err != nil {
			t.Errorf("after %d bytes: %v", len(body), err)
			return nil
		}
		if f.kind == framePing && f.has(flagAck) {
			send <- good().b
			return body
		}
		if f.kind != frameData {
			continue
		}
		body = append(body, f.payload...)
		// What was sent before the setting arrived was right at the time.
		if len(body) > max(n.granted, initialWindow) {
			t.Errorf("%d bytes sent, %d granted", len(body), n.granted)
		}
		if len(body) == total && !pinged {
			pinged = true
			send <- new(script).frame(framePing, 0, 0, make([]byte, 8)...).b
		} else if len(body) >= n.granted && len(body) >= initialWindow {
			more := len(body) - n.granted + n.step
			n.granted += more
			grant(n.narrowStream, more)
		}
	}
}

// TestRuntimeHookEndsAtItsDeadline has listeners that never answer, each in its
// own way.
func TestRuntimeHookEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(net.Conn, <-chan struct{}){
		"reads nothing": func(_ net.Conn, over <-chan struct{}) { <-over },
		"reads and is silent": func(c net.Conn, _ <-chan struct{}) {
			io.Copy(io.Discard, c)
		},
		"dribbles": func(c net.Conn, over <-chan struct{}) {
			for sent := good().b; len(sent) > 0; sent = sent[1:] {
				c.Write(sent[:1])
				select {
				case <-over:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		},
		"settings, then silence": func(c net.Conn, over <-chan struct{}) {
			c.Write(new(script).frame(frameSettings, 0, 0).b)
			<-over
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			over := make(chan struct{})
			t.Cleanup(func() {
				close(over)
				listener.Close()
			})
			go func() {
				for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
					go func() {
						serve(conn, over)
						conn.Close()
					}()
				}
			}()
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			// The request is larger than every buffer between the two.
			err = Client{Address: "unix://" + path}.RuntimeHook(ctx, make([]byte, 4<<20))
			if !errors.Is(err, ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want ErrNoAnswer at the deadline", err)
			}
			if spent := time.Since(start); spent > 10*time.Second {
				t.Errorf("took %s", spent)
			}
		})
	}
}

func TestGRPCTimeout(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		time.Nanosecond: "1u", 2 * time.Second: "2000000u", 99 * time.Second: "99000000u",
		100 * time.Second: "100000m", 10_000 * time.Hour: "99999999m",
	} {
		if got := grpcTimeout(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

// FuzzExchange feeds a server's bytes. What counts as an acknowledgement must be
// one to another reader of HTTP/2, too.
func FuzzExchange(f *testing.F) {
	for _, s := range []*script{
		good(), hello(), hello().trailers("grpc-status", "7", "grpc-message", "no%21"),
		new(script).trailers(":status", "200", "content-type", "application/grpc", "grpc-status", "13"),
		hello().frame(frameReset, 0, theStream, 0, 0, 0, 8),
		new(script).frame(frameGoAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2),
		new(script).frame(frameSettings, 0, 0, 0, 4, 0, 0, 0, 0),
		hello().frame(frameHeaders, 0, theStream, 0x88).frame(frameContinuation, flagEndHeaders|flagEndStream, theStream, 0x88),
	} {
		f.Add(s.b, 7)
	}
	f.Fuzz(func(t *testing.T, sent []byte, size int) {
		request := make([]byte, min(max(size, 0), 1<<17))
		if play(sent, request) != nil {
			return
		}
		if ok, known := acknowledges(sent); known && !ok {
			t.Errorf("acknowledged by %x", sent)
		}
	})
}

// acknowledges reads a server's bytes with the framer of x/net/http2. known is
// false when that one is stricter and gives up: field names, say.
func acknowledges(sent []byte) (ok, known bool) {
	framer := http2.NewFramer(io.Discard, bytes.NewReader(sent))
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var message []byte
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			return false, false
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			message = append(message, f.Data()...)
		case *http2.MetaHeadersFrame:
			if !f.StreamEnded() {
				continue
			}
			status := ""
			for _, field := range f.RegularFields() {
				if field.Name == "grpc-status" {
					status = field.Value
				}
			}
			whole := len(message) >= messagePrefix && int(binary.BigEndian.Uint32(message[1:])) == len(message)-messagePrefix
			return status == "0" && whole, true
		}
	}
}
