// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/doctor/canary"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// seenInterval is how often the agent is asked for a container.
const seenInterval = 20 * time.Millisecond

// prover proves one runtime.
type prover struct {
	*run
	scene    *canary.Scene
	runtime  canary.Runtime
	policies *policies
	watch    *watch // nil: the agent is not there, or does not tell of events
	watchErr error
	sealed   bool // the runtime's canary was
}

// prove tries every runtime. The policies are there for all of them.
func (r *run) prove(ctx context.Context, scene *canary.Scene, runtimes []canary.Runtime) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := prover{run: r, scene: scene, policies: &policies{run: r, name: scene.Name(), mark: scene.Name()}}
	if r.status != nil {
		defer func() { err = errors.Join(err, left(p.policies.remove())) }()
		p.policies.enforce(ctx)
		p.watch, p.watchErr = r.watch(ctx, p.policies)
	}
	var errs []error
	for _, p.runtime = range runtimes {
		// What one leaves behind does not keep the others from being tried.
		errs = append(errs, p.proveOne(ctx))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// say adds a check of the runtime.
func (p *prover) say(what string, f finding) { p.tell(p.runtime.Name()+" "+what, f) }

func (p *prover) proveOne(ctx context.Context) error {
	text, err := p.runtime.Probe(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.tell(p.runtime.Name(), notProven("it does not answer: %v", err).but("start it, then run this again"))
		}
		return nil
	}
	p.tell(p.runtime.Name(), ok("%s", text))
	p.sealed = false
	err = p.alive(ctx)
	p.registered(ctx)
	return errors.Join(err, p.away(ctx))
}

// registered tells what the runtime's configuration says, when somebody looks at it. A
// canary that was sealed shows that the runtime is told of boltseal, wherever.
func (p *prover) registered(ctx context.Context) {
	if p.Registrations == nil || p.runtime.Bundled() || ctx.Err() != nil {
		return
	}
	switch is, err := p.Registrations.Registration(ctx, p.runtime.Name()); {
	case err != nil:
		p.say("registered", notProven("%v", err))
	case !is.Registered && p.sealed:
		p.say("registered", warn("%s, though the canary shows that it is told of boltseal", is.How).but("%s", is.Do))
	case !is.Registered:
		p.say("registered", fail("%s", is.How).but("%s", is.Do))
	default:
		p.say("registered", ok("%s", is.How))
	}
}

// alive proves what holds while the agent is there: sealed, killed, denied.
func (p *prover) alive(ctx context.Context) error {
	switch {
	case p.status == nil:
		p.say("sealed", notProven("there is no agent"))
		return nil
	case p.runtime.Bundled() && p.hook == nil:
		p.say("sealed", notProven("the hook cannot be used, see above"))
		return nil
	}
	seen, o, err := p.try(ctx, canary.Kill)
	switch {
	case ctx.Err() != nil:
		return err
	case err != nil && !errors.Is(err, ErrLeft):
		p.say("sealed", fail("%v", err))
		return nil
	case !o.Ran:
		p.say("sealed", notStarted(o))
		return err
	}
	sealed := judgeSeal(seen, o.Name, p.policies.mark, o.ID).but("%s", advice(p.runtime.Name()))
	if sealed.verdict == OK {
		sealed.do = ""
	}
	p.sealed = sealed.verdict != Fail
	p.say("sealed", sealed)
	if seen == nil {
		p.say("kills", notProven("the canary is not known to the agent"))
		p.say("denies", notProven("the canary is not known to the agent"))
		return err
	}
	p.say("kills", p.killed(ctx, o))
	return errors.Join(err, p.denied(ctx))
}

// try runs a canary and returns what the agent knew of it while its entrypoint ran.
func (p *prover) try(ctx context.Context, act string) (seen *boltseal.Container, o canary.Outcome, err error) {
	c := canary.Canary{Name: p.scene.NextName(), Mark: p.policies.mark, Act: act}
	if p.runtime.Bundled() {
		c.Hook = p.hook.oci(p.HookConfig)
	}
	o, err = p.scene.Run(ctx, p.runtime, c, func(ctx context.Context, id string) (err error) {
		seen, err = p.seen(ctx, id)
		return err
	})
	return seen, o, err
}

// seen is what the agent knows of a container whose entrypoint runs; nil: nothing.
func (p *prover) seen(ctx context.Context, id string) (last *boltseal.Container, err error) {
	within, cancel := context.WithTimeout(ctx, p.TellTime)
	defer cancel()
	ticker := time.NewTicker(seenInterval)
	defer ticker.Stop()
	for {
		call, cancel := p.call(ctx)
		list, err := p.Agent.ListContainers(call, &boltseal.ListContainersRequest{IdPrefix: id})
		cancel()
		if err != nil {
			return nil, errors.New("list containers: " + status.Convert(err).Message())
		}
		for _, c := range list.GetContainers() {
			if last = c; c.GetState() == boltseal.ContainerState_CONTAINER_STATE_ARMED {
				return c, nil
			}
		}
		select {
		case <-within.Done():
			return last, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// killed judges the act that the one policy kills for.
func (p *prover) killed(ctx context.Context, o canary.Outcome) finding {
	const want = 137
	if p.policies.killErr != nil {
		return notProven("the agent did not take the policy for it: %v", p.policies.killErr)
	}
	if o.Code != want {
		return fail("the act went through: exit status %d, want %d", o.Code, want).but("look at the agent's log, and at boltseal status")
	}
	return p.event(ctx, p.policies.kill(), o, tetragon.KprobeAction_KPROBE_ACTION_SIGKILL,
		"killed in the act: exit status 137 and the policy's event")
}

// event judges the event of an act.
func (p *prover) event(ctx context.Context, policy string, o canary.Outcome, want tetragon.KprobeAction, proven string) finding {
	if p.watchErr != nil {
		return notProven("exit status %d, but events cannot be watched: %v", o.Code, p.watchErr)
	}
	action, err := p.watch.action(ctx, policy, o.ID)
	switch {
	case err != nil:
		return fail("exit status %d, but %v", o.Code, err).but("look at the agent's log")
	case action != want:
		return fail("exit status %d, but the event says %v", o.Code, action)
	}
	return ok("%s", proven)
}

// denied proves that an act is denied, in a canary of its own.
func (p *prover) denied(ctx context.Context) error {
	if !p.policies.denies() {
		p.say("denies", notProven("this kernel cannot deny it: %v", p.policies.denyErr))
		return nil
	}
	seen, o, err := p.try(ctx, canary.Deny)
	const want = 13 // EACCES
	switch {
	case ctx.Err() != nil:
	case err != nil && !errors.Is(err, ErrLeft):
		p.say("denies", fail("%v", err))
	case !o.Ran || seen == nil:
		p.say("denies", notProven("the canary did not start or is not known to the agent: %s", o.Said))
	case o.Code != want:
		p.say("denies", fail("the act went through: exit status %d, want %d", o.Code, want).but("look at the agent's log"))
	default:
		p.say("denies", p.event(ctx, p.policies.deny(), o, tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE,
			"denied: the canary saw EACCES, and the policy's event came"))
	}
	return onlyLeft(err)
}

// away proves what becomes of a container without an agent, by a hook that asks at a
// socket that does not exist. The agent itself is left alone.
func (p *prover) away(ctx context.Context) error {
	const name = "agent away"
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !p.runtime.TakesHook():
		p.say(name, notProven("%s cannot be given a hook for one container; the hook's answer is the same for every runtime", p.runtime.Name()))
		return nil
	case p.hook == nil:
		p.say(name, notProven("the hook cannot be used, see above"))
		return nil
	}
	dir := filepath.Join(p.scene.Dir(), "away-"+p.runtime.Name())
	err := os.MkdirAll(dir, 0o700)
	var hook *canary.Hook
	var log string
	if err == nil {
		hook, log, err = p.hook.deaf(dir)
	}
	if err != nil {
		p.say(name, notProven("%v", err))
		return nil
	}
	c := canary.Canary{Name: p.scene.NextName(), Mark: p.policies.mark, Act: canary.Deny, Hook: hook}
	o, err := p.scene.Run(ctx, p.runtime, c, nil)
	switch {
	case ctx.Err() != nil:
	case err != nil && !errors.Is(err, ErrLeft):
		p.say(name, fail("%v", err))
	default:
		p.say(name, judgeAway(o, refusal(log, o.Said), p.hook.settings))
	}
	return onlyLeft(err)
}

// onlyLeft is the error when something was left behind; all others are told as checks.
func onlyLeft(err error) error {
	if errors.Is(err, ErrLeft) {
		return err
	}
	return nil
}
