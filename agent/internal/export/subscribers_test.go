// SPDX-License-Identifier: Apache-2.0

package export

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNumbersOfSubscribers: numbers are used again, and what was lost stays in the sum.
func TestNumbersOfSubscribers(t *testing.T) {
	t.Parallel()
	var h Hub
	defer h.Close()
	first, second := subscribe(t, &h, nil, 2), subscribe(t, &h, nil, 5)
	for n := range 4 {
		h.Publish(event(n))
	}
	next(t, second)
	want := []Stats{{ID: 1, Queued: 2, Capacity: 2, Lost: 2}, {ID: 2, Number: 1, Queued: 3, Capacity: 5, Sent: 1}}
	if diff := cmp.Diff(want, h.Subscribers()); diff != "" {
		t.Errorf("queues (-want +got):\n%s", diff)
	}
	first.Close()
	third, fourth := subscribe(t, &h, nil, 1), subscribe(t, &h, nil, 1)
	defer third.Close()
	defer fourth.Close()
	var numbers []int
	for _, q := range h.Subscribers() {
		numbers = append(numbers, q.Number)
	}
	if diff := cmp.Diff([]int{1, 0, 2}, numbers); diff != "" {
		t.Errorf("numbers (-want +got):\n%s", diff)
	}
	if lost := h.Lost(); lost != 2 {
		t.Errorf("%d events are lost, want 2", lost)
	}
}
