// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// eventFilter is the flags that choose events and their fields.
type eventFilter struct {
	filter                      tetragon.Filter
	containers, types           []string
	pids, pidSet                []uint
	host, inInitTree, execProbe bool
	allow, deny                 []string
	include, exclude            []string
	window                      time.Duration
	buffer                      uint64
}

// eventFlags adds the flags of a command that streams events, and returns what makes
// a request of them.
func eventFlags(c *cobra.Command) func() (*tetragon.GetEventsRequest, error) {
	f, flags := &eventFilter{}, c.Flags()
	of := &f.filter
	// Names that users of other clients know.
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		for known, ours := range map[string]string{
			"policy-names": "policy", "event-types": "event-type", "process": "binary", "pods": "pod", "namespaces": "namespace",
		} {
			if name == known {
				name = ours
			}
		}
		return pflag.NormalizedName(name)
	})
	list := func(to *[]string, name, short, text string) {
		flags.StringSliceVarP(to, name, short, nil, "only events "+text)
	}
	// Regular expressions, selectors and expressions have commas in them.
	whole := func(to *[]string, name, text string) { flags.StringArrayVar(to, name, nil, "only events "+text) }
	list(&of.PolicyNames, "policy", "", "of these policies")
	list(&f.containers, "container", "", "of these containers: names, or beginnings of ids")
	list(&f.types, "event-type", "e", "of these types: "+strings.Join(slices.Sorted(maps.Keys(eventTypes())), ", "))
	list(&of.Namespace, "namespace", "n", "of pods in these namespaces")
	flags.UintSliceVar(&f.pids, "pid", nil, "only events of these processes")
	flags.UintSliceVar(&f.pidSet, "pid-set", nil, "only events of these processes and of all that descend from them")
	flags.BoolVar(&f.host, "host", false, "only events of processes in no pod")
	flags.BoolVar(&f.inInitTree, "in-init-tree", false, "only events of processes that descend from the first one of their container; =false: of others")
	flags.BoolVar(&f.execProbe, "health-check", false, "only events of health checks that are run in containers; =false: of others")
	whole(&of.BinaryRegex, "binary", "of processes whose binary matches this regular expression")
	whole(&of.ArgumentsRegex, "arguments", "of processes whose arguments match this regular expression")
	whole(&of.ParentBinaryRegex, "parent-binary", "of processes whose parent's binary matches this regular expression")
	whole(&of.ParentArgumentsRegex, "parent-arguments", "of processes whose parent's arguments match this regular expression")
	whole(&of.AncestorBinaryRegex, "ancestor-binary", "of processes with an ancestor whose binary matches this regular expression")
	whole(&of.PodRegex, "pod", "of pods whose name matches this regular expression")
	whole(&of.NamespaceRegex, "namespace-regex", "of pods whose namespace matches this regular expression")
	whole(&of.Labels, "labels", "of pods whose labels meet this selector, as in app=web,tier!=db")
	whole(&of.CelExpression, "cel-expression", "for which this expression of the Common Expression Language is true")
	flags.StringArrayVar(&f.allow, "allow", nil, "also events that meet this filter, a JSON object")
	flags.StringArrayVar(&f.deny, "deny", nil, "no events that meet this filter, a JSON object")
	flags.StringSliceVarP(&f.include, "include-fields", "f", nil, "only these fields of events, such as process.binary")
	flags.StringSliceVarP(&f.exclude, "exclude-fields", "F", nil, "events without these fields")
	flags.DurationVar(&f.window, "aggregation-window", 0, "count equal events of so long as one; 0: do not")
	flags.Uint64Var(&f.buffer, "aggregation-buffer", 0, "events that may wait to be counted as one; 0: as many as the agent chooses")
	return func() (*tetragon.GetEventsRequest, error) { return f.request(flags.Changed) }
}

func eventTypes() map[string]tetragon.EventType {
	types := map[string]tetragon.EventType{}
	for number, name := range tetragon.EventType_name {
		if t := tetragon.EventType(number); t != tetragon.EventType_UNDEF {
			types[strings.ToLower(strings.TrimPrefix(name, "PROCESS_"))] = t
		}
	}
	return types
}

// request is the flags as a request. A container is given by name or id, which are
// different fields, so that it takes two filters.
func (f *eventFilter) request(given func(flag string) bool) (*tetragon.GetEventsRequest, error) {
	own, err := f.own(given)
	if err != nil {
		return nil, err
	}
	request := &tetragon.GetEventsRequest{}
	switch {
	case len(f.containers) > 0:
		byID := proto.CloneOf(own)
		byID.ContainerId = f.containers
		for _, name := range f.containers {
			own.ContainerNameRegex = append(own.ContainerNameRegex, "^"+regexp.QuoteMeta(name)+"$")
		}
		request.AllowList = []*tetragon.Filter{own, byID}
	case proto.Size(own) > 0:
		request.AllowList = []*tetragon.Filter{own}
	}
	for _, list := range []struct {
		flag string
		from []string
		to   *[]*tetragon.Filter
	}{{"allow", f.allow, &request.AllowList}, {"deny", f.deny, &request.DenyList}} {
		for _, text := range list.from {
			filter := &tetragon.Filter{}
			if err := protojson.Unmarshal([]byte(text), filter); err != nil {
				// protojson's own white space changes from build to build.
				reason := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
				return nil, fmt.Errorf("--%s %s: %s", list.flag, text, reason)
			}
			*list.to = append(*list.to, filter)
		}
	}
	for _, fields := range []struct {
		paths  []string
		action tetragon.FieldFilterAction
	}{{f.include, tetragon.FieldFilterAction_INCLUDE}, {f.exclude, tetragon.FieldFilterAction_EXCLUDE}} {
		if len(fields.paths) > 0 {
			request.FieldFilters = append(request.FieldFilters, &tetragon.FieldFilter{
				Fields: &fieldmaskpb.FieldMask{Paths: fields.paths}, Action: fields.action,
			})
		}
	}
	switch {
	case f.window < 0:
		return nil, fmt.Errorf("--aggregation-window %s: must not be less than 0", f.window)
	case f.window > 0:
		request.AggregationOptions = &tetragon.AggregationOptions{WindowSize: durationpb.New(f.window), ChannelBufferSize: f.buffer}
	case f.buffer > 0:
		return nil, fmt.Errorf("--aggregation-buffer %d: without --aggregation-window", f.buffer)
	}
	return request, nil
}

// own is the flags of one field each as a filter.
func (f *eventFilter) own(given func(flag string) bool) (*tetragon.Filter, error) {
	of := proto.CloneOf(&f.filter)
	if f.host {
		of.Namespace = append(of.Namespace, "")
	}
	if given("in-init-tree") {
		of.InInitTree = wrapperspb.Bool(f.inInitTree)
	}
	if given("health-check") {
		of.HealthCheck = wrapperspb.Bool(f.execProbe)
	}
	for _, name := range f.types {
		t, ok := eventTypes()[strings.TrimPrefix(strings.ToLower(name), "process_")]
		if !ok {
			return nil, fmt.Errorf("--event-type %q: there are: %s", name, strings.Join(slices.Sorted(maps.Keys(eventTypes())), ", "))
		}
		of.EventSet = append(of.EventSet, t)
	}
	for _, list := range []struct {
		flag string
		from []uint
		to   *[]uint32
	}{{"pid", f.pids, &of.Pid}, {"pid-set", f.pidSet, &of.PidSet}} {
		for _, pid := range list.from {
			if uint(uint32(pid)) != pid {
				return nil, fmt.Errorf("--%s %d: no process id is as large", list.flag, pid)
			}
			*list.to = append(*list.to, uint32(pid))
		}
	}
	return of, nil
}
