// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// baseSensor is the name under which clients know what follows processes. It is
// always there, and part of no policy.
const baseSensor = "__base__"

// ListSensors lists what policies have attached: a place once for each policy that
// has rules there, with the policy as its collection, under the names that
// ListTracingPolicies has for it.
func (s *Server) ListSensors(context.Context, *tetragon.ListSensorsRequest) (*tetragon.ListSensorsResponse, error) {
	policies, err := s.Control.Policies()
	if err != nil {
		return nil, failure(err)
	}
	response := &tetragon.ListSensorsResponse{Sensors: []*tetragon.SensorStatus{
		{Name: baseSensor, Enabled: true, Collection: baseSensor},
	}}
	for _, p := range policies {
		for i, name := range p.Sites {
			if slices.Contains(p.Sites[:i], name) {
				continue
			}
			response.Sensors = append(response.Sensors, &tetragon.SensorStatus{Name: name, Enabled: p.Enabled, Collection: p.Policy.Key()})
		}
	}
	return response, nil
}

// EnableSensor enables the policy of a sensor, with all that it has.
func (s *Server) EnableSensor(ctx context.Context, r *tetragon.EnableSensorRequest) (*tetragon.EnableSensorResponse, error) {
	if r.GetName() == baseSensor {
		return &tetragon.EnableSensorResponse{}, nil // it always is
	}
	namespace, name, err := s.policyOfSensor(r.GetName())
	if err == nil {
		err = s.configure(ctx, "", namespace, name, new(true), nil)
	}
	if err != nil {
		return nil, failure(err)
	}
	return &tetragon.EnableSensorResponse{}, nil
}

// DisableSensor disables the policy of a sensor, with all that it has.
func (s *Server) DisableSensor(ctx context.Context, r *tetragon.DisableSensorRequest) (*tetragon.DisableSensorResponse, error) {
	namespace, name, err := s.policyOfSensor(r.GetName())
	if err == nil {
		err = s.configure(ctx, "", namespace, name, new(false), nil)
	}
	if err != nil {
		return nil, failure(err)
	}
	return &tetragon.DisableSensorResponse{}, nil
}

// RemoveSensor deletes the policy of a sensor.
func (s *Server) RemoveSensor(ctx context.Context, r *tetragon.RemoveSensorRequest) (*tetragon.RemoveSensorResponse, error) {
	namespace, name, err := s.policyOfSensor(r.GetName())
	if err == nil {
		err = s.delete(ctx, "", namespace, name)
	}
	if err != nil {
		return nil, failure(err)
	}
	return &tetragon.RemoveSensorResponse{}, nil
}

// policyOfSensor finds the policy that a sensor belongs to, which can be named by
// the sensor's name, if no other policy has one of that name, or by its collection.
func (s *Server) policyOfSensor(sensor string) (namespace, name string, err error) {
	if sensor == baseSensor {
		return "", "", fmt.Errorf("%w: sensor %s: processes are always followed, for containers are sealed by it", errFixed, sensor)
	}
	policies, err := s.Control.Policies()
	if err != nil {
		return "", "", err
	}
	var having []string
	for _, p := range policies {
		if p.Policy.Key() == sensor {
			return p.Policy.Namespace, p.Policy.Name, nil
		}
		if slices.Contains(p.Sites, sensor) {
			having = append(having, p.Policy.Key())
			namespace, name = p.Policy.Namespace, p.Policy.Name
		}
	}
	switch len(having) {
	case 0:
		return "", "", fmt.Errorf("sensor %q: %w", sensor, control.ErrNotFound)
	case 1:
		return namespace, name, nil
	}
	return "", "", fmt.Errorf("%w: sensor %q is of more than one policy: name one of them instead: %s", errFixed, sensor, strings.Join(having, ", "))
}
