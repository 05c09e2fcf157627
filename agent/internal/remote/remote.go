// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// Bounds of requests.
const (
	// maxWaiting is how many may wait for their turn, workers how many are under way.
	maxWaiting = 256
	workers    = 8
	// timeout is for all of one request, redirections included.
	timeout = 5 * time.Second
	// maxAnswer is how much of an answer is read, maxHeader how long its head may be.
	maxAnswer = 64 << 10
	maxHeader = 64 << 10
	// maxRedirects is how many are followed.
	maxRedirects = 3
	// tellEvery is how often drops are logged.
	tellEvery = 10 * time.Second
)

// ErrAddress says that a connection was not made because of its address.
var ErrAddress = errors.New("address is not allowed")

// Request is one action of a policy.
type Request struct {
	// Policy is the policy's key.
	Policy string
	// Action is a remote one.
	Action policy.Action
}

// Counts are what became of requests.
type Counts struct {
	// Done were answered, Failed were not. HeldBack were those of policies that were
	// not enforced by then.
	Done, Failed, HeldBack uint64
	// Full and TooOften were dropped: for want of room, and for their policy's rate.
	Full, TooOften uint64
}

// Requests carries requests out. It is safe for concurrent use.
type Requests struct {
	enforces func(policy string) bool
	log      *slog.Logger
	waiting  chan Request
	rates    rates
	client   *http.Client
	resolver *net.Resolver
	now      func() time.Time

	done, failed, heldBack, full, tooOften atomic.Uint64
	// told is the number of drops that were logged, toldAt when, in Unix nanoseconds.
	told   atomic.Uint64
	toldAt atomic.Int64
}

// New makes requests for policies as long as enforces says so of their keys.
func New(enforces func(policy string) bool, log *slog.Logger) *Requests {
	resolver := &net.Resolver{PreferGo: true}
	dialer := &net.Dialer{Timeout: timeout, Resolver: resolver, ControlContext: checkAddress}
	return &Requests{
		enforces: enforces, log: log, waiting: make(chan Request, maxWaiting), resolver: resolver, now: time.Now,
		client: &http.Client{
			CheckRedirect: func(_ *http.Request, via []*http.Request) error {
				if len(via) > maxRedirects {
					return fmt.Errorf("more than %d redirections", maxRedirects)
				}
				return nil
			},
			Transport: &http.Transport{
				DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true,
				MaxResponseHeaderBytes: maxHeader, TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
			},
		},
	}
}

// checkAddress refuses a connection before it is made.
func checkAddress(_ context.Context, network, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !strings.HasPrefix(network, "tcp") {
		return fmt.Errorf("%w: %s %q", ErrAddress, network, address)
	}
	if reason := policy.AddressFault(to.Addr()); reason != "" {
		return fmt.Errorf("%w: %s", ErrAddress, reason)
	}
	return nil
}

// Submit takes a request, or drops it. It does not block.
func (r *Requests) Submit(request Request) {
	switch {
	case !r.rates.take(request.Policy, r.now()):
		r.tooOften.Add(1)
	default:
		select {
		case r.waiting <- request:
			return
		default:
			r.full.Add(1)
		}
	}
	r.tell()
}

// tell logs drops, those of some time together.
func (r *Requests) tell() {
	at, before := r.now().UnixNano(), r.toldAt.Load()
	if at-before < int64(tellEvery) || !r.toldAt.CompareAndSwap(before, at) {
		return
	}
	full, often := r.full.Load(), r.tooOften.Load()
	dropped := full + often - r.told.Swap(full+often)
	r.log.Warn("remote actions dropped", "dropped", dropped, "no_room_in_all", full, "too_often_in_all", often)
}

// Run carries requests out until the context ends.
func (r *Requests) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case request := <-r.waiting:
					r.carryOut(ctx, request)
				}
			}
		})
	}
	return group.Wait()
}

func (r *Requests) carryOut(ctx context.Context, request Request) {
	if !r.enforces(request.Policy) {
		r.heldBack.Add(1)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	switch request.Action.Kind {
	case policy.GetURL:
		err = r.get(ctx, request.Action.Target)
	case policy.DNSLookup:
		err = r.lookUp(ctx, request.Action.Target)
	default:
		err = fmt.Errorf("%s is no remote action", request.Action.Kind)
	}
	if err != nil {
		r.failed.Add(1)
		r.log.Warn("remote action failed", "policy", request.Policy, "action", request.Action.Kind.String(), "error", err)
		return
	}
	r.done.Add(1)
	r.log.Debug("remote action done", "policy", request.Policy, "action", request.Action.Kind.String())
}

// get gets a URL. Any answer is one, whatever its status: the other end has heard.
func (r *Requests) get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "boltseal")
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer))
	return errors.Join(err, response.Body.Close())
}

// lookUp looks a name up as it stands, without the host's search list. An answer
// that there is none has been asked for all the same.
func (r *Requests) lookUp(ctx context.Context, name string) error {
	_, err := r.resolver.LookupNetIP(ctx, "ip", strings.TrimSuffix(name, ".")+".")
	var answer *net.DNSError
	if errors.As(err, &answer) && answer.IsNotFound {
		return nil
	}
	return err
}

// Counts are the counts by now.
func (r *Requests) Counts() Counts {
	return Counts{
		Done: r.done.Load(), Failed: r.failed.Load(), HeldBack: r.heldBack.Load(), Full: r.full.Load(), TooOften: r.tooOften.Load(),
	}
}
