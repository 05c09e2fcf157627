// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policydir"
	"github.com/boltseal/boltseal/agent/internal/server"
)

// fixed keeps the policies of files that are read once, at start, from being taken
// over by the files of the directory.
type fixed struct {
	policydir.Policies
	// owners are the files by the keys of their policies.
	owners map[string]string
}

// AddFilePolicy refuses a policy whose name one of the files has.
func (f *fixed) AddFilePolicy(file string, p *policy.Policy, instead string) error {
	if owner, taken := f.owners[p.Key()]; taken {
		return fmt.Errorf("policy %s is that of file %s already", p.Key(), owner)
	}
	return f.Policies.AddFilePolicy(file, p, instead)
}

// load puts the policies of files in force, or says what is wrong with each that
// cannot be.
func (f *fixed) load(files []string) error {
	var errs []error
	for _, file := range files {
		p, err := readPolicy(file)
		if err == nil {
			err = f.AddFilePolicy(file, p, "")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("policy file %s: %w", file, err))
			continue
		}
		f.owners[p.Key()] = file
	}
	return errors.Join(errs...)
}

func readPolicy(name string) (*policy.Policy, error) {
	file, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, policy.MaxTextBytes+1))
	if err != nil {
		return nil, err
	}
	return policy.Parse(text)
}

// policyFaults are the files of policies that are not in force as they are.
func (a *agent) policyFaults() []server.PolicyFault {
	if a.policies == nil {
		return nil
	}
	var all []server.PolicyFault
	for _, f := range a.policies.Faults() {
		all = append(all, server.PolicyFault(f))
	}
	return all
}
