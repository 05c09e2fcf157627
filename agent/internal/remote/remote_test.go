// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

func get(name, url string) Request {
	return Request{Policy: name, Action: policy.Action{Kind: policy.GetURL, Target: url}}
}

// TestDropsAreBoundedAndCounted: nobody has to take requests for Submit to return.
func TestDropsAreBoundedAndCounted(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	r := New(func(string) bool { return true }, slog.New(slog.NewTextHandler(&log, nil)))
	at := time.Unix(1000, 0)
	r.now = func() time.Time { return at }
	for range 3 * burst {
		r.Submit(get("a", "http://x/"))
	}
	if c := r.Counts(); c.TooOften != 2*burst || len(r.waiting) != burst {
		t.Errorf("%d requests of one policy at once: %+v, %d wait", 3*burst, c, len(r.waiting))
	}
	at = at.Add(2 * perRequest)
	for range burst {
		r.Submit(get("a", "http://x/"))
	}
	if c := r.Counts(); c.TooOften != 2*burst+burst-2 {
		t.Errorf("%d requests %v later: %+v", burst, 2*perRequest, c)
	}
	for i := range maxWaiting + 50 {
		r.Submit(get(fmt.Sprint("of ", i), "http://x/"))
	}
	if c := r.Counts(); len(r.waiting) != maxWaiting || c.Full != 50+burst+2 {
		t.Errorf("no room: %+v, %d wait", c, len(r.waiting))
	}
	if n := strings.Count(log.String(), "dropped="); n != 1 {
		t.Errorf("drops of %v were logged %d times", 2*perRequest, n)
	}
	at = at.Add(time.Hour)
	for i := range 2 * maxRates {
		if ok := r.rates.take(fmt.Sprint(i), at); ok != (i < maxRates) {
			t.Fatalf("policy %d at once: %t", i, ok)
		}
	}
	if len(r.rates.paid) > maxRates {
		t.Errorf("%d policies are remembered", len(r.rates.paid))
	}
}

func TestAddressesAreChecked(t *testing.T) {
	t.Parallel()
	for address, allowed := range map[string]bool{
		"10.1.2.3:80": true, "[fd12::1]:443": true, "93.184.216.34:80": true, "[2606:2800::1]:80": true,
		"127.0.0.1:80": false, "127.255.255.254:80": false, "[::1]:80": false, "[::ffff:127.0.0.1]:80": false,
		"0.0.0.0:80": false, "0.1.2.3:80": false, "[::]:80": false, "[fe80::1%lo]:80": false, "169.254.0.1:80": false,
		"169.254.169.254:80": false, "[fd00:ec2::254]:80": false, "100.100.100.200:80": false, "224.0.0.1:80": false,
		"239.1.1.1:80": false, "[ff02::1]:80": false, "255.255.255.255:80": false, "[64:ff9b::7f00:1]:80": false,
		"[64:ff9b::a9fe:a9fe]:80": false, "[2002:7f00:1::]:80": false, "[::127.0.0.1]:80": false, "[64:ff9b::a01:203]:80": true,
		"/run/docker.sock": false, "host:80": false,
	} {
		if err := checkAddress(t.Context(), "tcp", address, nil); (err == nil) != allowed || err != nil && !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v, allowed %t", address, err, allowed)
		}
	}
	if err := checkAddress(t.Context(), "unix", "10.1.2.3:80", nil); !errors.Is(err, ErrAddress) {
		t.Errorf("unix socket: %v", err)
	}
}
