// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func TestSensors(t *testing.T) {
	needRoot(t)
	f := &fake{policies: []control.PolicyStatus{
		{Policy: &policy.Policy{Name: "p"}, Enabled: true, Sites: []string{"one", "shared", "one"}},
		{Policy: &policy.Policy{Name: "p", Namespace: "n"}, Sites: []string{"shared", "two"}},
	}}
	client := tetragon.NewFineGuidanceSensorsClient(serve(t, f, container.New(0)))
	list, err := client.ListSensors(t.Context(), &tetragon.ListSensorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list.GetSensors() {
		got = append(got, fmt.Sprintf("%s of %s %v", s.GetName(), s.GetCollection(), s.GetEnabled()))
	}
	if want := "__base__ of __base__ true, one of p true, shared of p true, shared of n/p false, two of n/p false"; strings.Join(got, ", ") != want {
		t.Errorf("listed %q, want %q", got, want)
	}
	// The same as the list of policies has, once each.
	policies, err := client.ListTracingPolicies(t.Context(), &tetragon.ListTracingPoliciesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range policies.GetPolicies() {
		for _, name := range p.GetSensors() {
			if !slices.ContainsFunc(list.GetSensors(), func(s *tetragon.SensorStatus) bool {
				return s.GetName() == name && s.GetEnabled() == p.GetEnabled() && strings.HasSuffix("/"+s.GetCollection(), p.GetNamespace()+"/"+p.GetName())
			}) {
				t.Errorf("policy %s/%s lists the sensor %s", p.GetNamespace(), p.GetName(), name)
			}
		}
	}
	for _, test := range []struct {
		sensor, policy string
		code           codes.Code
	}{
		{"one", "/p", codes.OK},
		{"two", "n/p", codes.OK},
		{"p", "/p", codes.OK},
		{"n/p", "n/p", codes.OK},
		{"shared", "", codes.FailedPrecondition},
		{"other", "", codes.NotFound},
		{"", "", codes.NotFound},
	} {
		f.changed, f.deleted = "", ""
		_, err := client.DisableSensor(t.Context(), &tetragon.DisableSensorRequest{Name: test.sensor})
		if status.Code(err) != test.code || f.changed != test.policy || test.code == codes.OK && *f.enable {
			t.Errorf("disable %q: %v, changed %q", test.sensor, err, f.changed)
		}
		f.changed = ""
		_, err = client.EnableSensor(t.Context(), &tetragon.EnableSensorRequest{Name: test.sensor})
		if status.Code(err) != test.code || f.changed != test.policy || test.code == codes.OK && !*f.enable {
			t.Errorf("enable %q: %v, changed %q", test.sensor, err, f.changed)
		}
		_, err = client.RemoveSensor(t.Context(), &tetragon.RemoveSensorRequest{Name: test.sensor})
		if status.Code(err) != test.code || f.deleted != test.policy {
			t.Errorf("remove %q: %v, deleted %q", test.sensor, err, f.deleted)
		}
		if test.sensor == "shared" && !strings.Contains(status.Convert(err).Message(), "p, n/p") {
			t.Errorf("remove %q: %v, want the names of both policies", test.sensor, err)
		}
	}
}
