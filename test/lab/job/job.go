// SPDX-License-Identifier: Apache-2.0

// Package job is what the lab and its guests say to each other. The lab writes
// one [Job] as a line of JSON; the guest answers with lines of [Event], the last
// of which has Done or Error.
package job

import "time"

// Names of the guest's virtio-serial ports.
const (
	// JobPort carries the job in.
	JobPort = "boltseal.job"
	// EventPort carries the events out.
	EventPort = "boltseal.events"
	// FilesPort carries a tar archive of [OutDir], if there is anything in it.
	FilesPort = "boltseal.files"
)

const (
	// InDir is where the guest finds the files it was given.
	InDir = "/lab"
	// OutDir is where commands leave files for the host.
	OutDir = "/out"
	// ModuleList is the file of the first file system that names the modules to
	// load, a path per line, in order.
	ModuleList = "/modules"
)

// ClockCheck is how long a guest waits, by its own clock, between its first two
// signs of life.
const ClockCheck = time.Second

// Job is what a guest does: its steps, one after the other, also when one fails.
type Job struct {
	Steps []Step `json:"steps"`
}

// Step is one command.
type Step struct {
	// Argv is the command; its first word is looked for in the guest's PATH,
	// which begins with InDir.
	Argv []string `json:"argv"`
	// Env is added to the guest's own environment.
	Env []string `json:"env,omitempty"`
	// Dir is the working directory; InDir if empty.
	Dir string `json:"dir,omitempty"`
}

// Event is something that happened in the guest. One field besides Step is set.
type Event struct {
	// Step is the index of the step that the event is about.
	Step int `json:"step"`
	// Up is the guest's uptime in seconds: twice before its first step, and then
	// about once a second, as a sign of life.
	Up float64 `json:"up,omitempty"`
	// Output is what the command wrote to its standard output and error.
	Output []byte `json:"output,omitempty"`
	// Exit ends a step.
	Exit *Exit `json:"exit,omitempty"`
	// Error says why the guest could not do the job. Nothing follows.
	Error string `json:"error,omitempty"`
	// Done: all steps have ended, and the files are sent. Nothing follows.
	Done bool `json:"done,omitempty"`
}

// Exit is how a command ended.
type Exit struct {
	// Status is the exit status, or 128 and the number of the signal that killed it.
	Status int `json:"status"`
	// Seconds is how long it took by the guest's clock.
	Seconds float64 `json:"seconds"`
	// Error is why it could not be started.
	Error string `json:"error,omitempty"`
}
