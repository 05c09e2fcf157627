// SPDX-License-Identifier: Apache-2.0

package metrics

import "slices"

// Prefixes of names: our own, and that of the metrics that dashboards of the
// compatible project know.
const (
	prefix           = "boltseal_"
	compatiblePrefix = "tetragon_"
)

// Kind is the type of a metric.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Metric describes one metric.
type Metric struct {
	// Name is without prefix.
	Name, Help string
	Kind       Kind
	// Labels are its own; after them come those of workloads.
	Labels []string
	// Workloads is which labels of workloads it has besides.
	Workloads Workloads
	// Alias is the compatible metric of the same meaning; its name is empty when there
	// is none.
	Alias Alias
}

// Workloads is which of the configured labels a metric has.
type Workloads uint8

// None of them, all, or all but the binary.
const (
	NoWorkload Workloads = iota
	WholeWorkload
	WorkloadOnly
)

// Alias is a metric under a name of the compatible project.
type Alias struct {
	// Name is without prefix.
	Name string
	// Where, unless empty, is a label whose value is Is in the series that are offered,
	// and which they do not have.
	Where, Is string
	// Renamed are labels that have another name.
	Renamed map[string]string
}

func same(name string) Alias { return Alias{Name: name} }

func attach(name string) Alias {
	return Alias{Name: name, Renamed: map[string]string{"site": "attach", "program": "section"}}
}

// Names that other files emit by.
const (
	buildInfo          = "build_info"
	eventsTotal        = "events_total"
	policyEventsTotal  = "policy_events_total"
	recordsTotal       = "records_total"
	ringReceivedTotal  = "ring_received_total"
	ringUsedBytes      = "ring_used_bytes"
	ringSizeBytes      = "ring_size_bytes"
	eventsLostTotal    = "events_lost_total"
	containerLostTotal = "container_events_lost_total"
	subscriberQueue    = "subscriber_queue_events"
	subscriberRoom     = "subscriber_queue_capacity"
	subscriberLost     = "subscriber_lost_events_total"
	mapEntries         = "map_entries"
	mapCapacity        = "map_capacity"
	programRuns        = "program_runs_total"
	programSeconds     = "program_seconds_total"
	programSkipped     = "program_skipped_total"
	siteRules          = "site_rules"
	siteMissed         = "site_missed_calls_total"
	policies           = "policies"
	policyState        = "policy_state"
	policyActions      = "policy_actions_total"
	policyContainers   = "policy_containers"
	policyMemory       = "policy_kernel_memory_bytes"
	kernelErrors       = "kernel_errors_total"
	containersAlive    = "containers"
	containersLate     = "containers_late"
	sealedTasks        = "sealed_tasks"
	cgroupsSealed      = "cgroups_sealed_total"
	sinceSeal          = "since_seal_seconds"
	runtimeHook        = "runtime_hook_seconds"
	cacheSize          = "process_cache_size"
	cacheCapacity      = "process_cache_capacity"
	cacheBytes         = "process_cache_bytes"
	cacheEvictions     = "process_cache_evictions_total"
	cacheMisses        = "process_cache_misses_total"
	grpcCalls          = "grpc_calls_total"
	labelSets          = "label_sets"
	labelSetsRefused   = "label_sets_refused_total"
	scrapeErrors       = "scrape_errors_total"
)

// Table lists the metrics, beside those of the Go runtime (go_) and of the agent's
// process (process_).
func Table() []Metric {
	return slices.Concat(eventTable(), kernelTable(), policyTable(), agentTable())
}

func eventTable() []Metric {
	return []Metric{
		{eventsTotal, "Events by the type they have in the API, whether or not anybody is subscribed.", Counter, []string{"type"}, WholeWorkload, same(eventsTotal)},
		{policyEventsTotal, "Events of policies, by policy and hook.", Counter, []string{"policy_namespace", "policy", "hook"}, WholeWorkload, same(policyEventsTotal)},
		{recordsTotal, "Records read from the kernel's ring, by type.", Counter, []string{"type"}, NoWorkload, Alias{}},
		{ringReceivedTotal, "Records read from the kernel's ring.", Counter, nil, NoWorkload, same("observer_ringbuf_events_received_total")},
		{ringUsedBytes, "Bytes in the kernel's ring that the agent has not read yet.", Gauge, nil, NoWorkload, Alias{}},
		{ringSizeBytes, "Size of the kernel's ring.", Gauge, nil, NoWorkload, Alias{}},
		{eventsLostTotal, "Events lost: the kernel's ring was full (ring_full), the record could not be decoded (undecoded), its rule was forgotten (unresolved).",
			Counter, []string{"reason"}, NoWorkload, Alias{Name: "observer_ringbuf_events_lost_total", Where: "reason", Is: lostRing}},
		{containerLostTotal, "Events of a workload that found the kernel's ring full.", Counter, nil, WorkloadOnly, Alias{}},
		{notifyLostTotal, "Events that subscribers were too slow for, also of subscriptions that have ended.", Counter, nil, NoWorkload, same("notify_overflowed_events_total")},
		{subscriberQueue, "Events that wait in the queue of a subscriber.", Gauge, []string{"subscriber"}, NoWorkload, Alias{}},
		{subscriberRoom, "Events that can wait in the queue of a subscriber.", Gauge, []string{"subscriber"}, NoWorkload, Alias{}},
		{subscriberLost, "Events that a subscriber was too slow for. Numbers of subscribers are used again.", Counter, []string{"subscriber"}, NoWorkload, Alias{}},
	}
}

func kernelTable() []Metric {
	return []Metric{
		{mapEntries, "Entries in use of a kernel map.", Gauge, []string{"map"}, NoWorkload, same(mapEntries)},
		{mapCapacity, "Entries that a kernel map has room for.", Gauge, []string{"map"}, NoWorkload, same(mapCapacity)},
		{programRuns, "Runs of a kernel program, counted while the kernel keeps statistics.", Counter, []string{"site", "program"}, NoWorkload, attach("overhead_program_runs_total")},
		{programSeconds, "Time in a kernel program, measured while the kernel keeps statistics.", Counter, []string{"site", "program"}, NoWorkload, attach("overhead_program_seconds_total")},
		{programSkipped, "Calls for which the kernel skipped a program that was running on that CPU already.", Counter, []string{"site", "program"}, NoWorkload, attach("missed_prog_probes_total")},
		{siteRules, "Rules at an attached site.", Gauge, []string{"site"}, NoWorkload, Alias{}},
		{siteMissed, "Calls that the probes of a site have missed, as far as the kernel tells: since Linux 6.7.", Counter, []string{"site"}, NoWorkload, attach("missed_link_probes_total")},
		{kernelErrors, "What went wrong in the kernel programs, by name.", Counter, []string{"error"}, NoWorkload, Alias{}},
		{containersAlive, "Containers that are alive.", Gauge, nil, NoWorkload, Alias{}},
		{containersLate, "Containers that are alive and ran before they were sealed.", Gauge, nil, NoWorkload, Alias{}},
		{sealedTasks, "Tasks that carry a seal.", Gauge, nil, NoWorkload, Alias{}},
		{cgroupsSealed, "Root cgroups of containers that the kernel sealed as they were made: announced (path), by their looks (pattern), or not, for want of room (no_room).",
			Counter, []string{"by"}, NoWorkload, Alias{}},
		{sinceSeal, "Time from the seal of a container to its first task, its first exec, the exec of its entrypoint (armed), and the agent's answer to its hook (acknowledged).",
			Histogram, []string{"to"}, NoWorkload, Alias{}},
	}
}

func policyTable() []Metric {
	of := []string{"policy_namespace", "policy"}
	return []Metric{
		{policies, "Policies that are enabled and disabled, and files of policies that are not in force as they are (load_error).", Gauge, []string{"state"}, NoWorkload, same("tracingpolicy_loaded")},
		{policyState, "1 for each policy, with its mode and state.", Gauge, append(of, "mode", "state"), NoWorkload, Alias{}},
		{policyActions, "What a policy's rules did; monitor_ is what they would have done, limited what a rate left out.", Counter, append(of, "action"), NoWorkload, Alias{}},
		{policyContainers, "Containers that a policy is for.", Gauge, of, NoWorkload, Alias{}},
		{policyMemory, "Memory that a policy takes in the kernel, computed from the sizes of map elements.", Gauge, of, NoWorkload, same("tracingpolicy_kernel_memory_bytes")},
	}
}

func agentTable() []Metric {
	return []Metric{
		{buildInfo, "1, with the version of the agent.", Gauge, []string{"version", "go_version"}, NoWorkload, Alias{}},
		{runtimeHook, "Time to handle what a hook told of a container, by what came of it: sealed, announced or failed.", Histogram, []string{"result"}, NoWorkload, Alias{}},
		{cacheSize, "Processes that are remembered.", Gauge, nil, NoWorkload, same(cacheSize)},
		{cacheCapacity, "Processes that can be remembered.", Gauge, nil, NoWorkload, same(cacheCapacity)},
		{cacheBytes, "Memory that remembered processes take, about.", Gauge, nil, NoWorkload, Alias{}},
		{cacheEvictions, "Processes that made room for others.", Counter, nil, NoWorkload, same(cacheEvictions)},
		{cacheMisses, "Processes that were named and not remembered.", Counter, nil, NoWorkload, same(cacheMisses)},
		{grpcCalls, "Calls of the API that have ended, by method and code.", Counter, []string{"method", "code"}, NoWorkload, Alias{}},
		{labelSets, "Label sets of a metric of workloads.", Gauge, []string{"metric"}, NoWorkload, Alias{}},
		{labelSetsRefused, "How often a label set of a metric of workloads found no room.", Counter, []string{"metric"}, NoWorkload, Alias{}},
		{scrapeErrors, "Scrapes in which a part could not be read, and its metrics are missing.", Counter, []string{"part"}, NoWorkload, Alias{}},
	}
}

const notifyLostTotal = "notify_lost_events_total"

// Reasons of events_lost_total.
const (
	lostRing       = "ring_full"
	lostUndecoded  = "undecoded"
	lostUnresolved = "unresolved"
)
