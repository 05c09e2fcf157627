// SPDX-License-Identifier: Apache-2.0

package export

import "slices"

// Queue is what waits for one subscriber.
type Queue struct {
	// Number is unique among the present subscribers, and less than MaxSubscribers:
	// those of subscriptions that have ended are used again.
	Number int
	// Queued events wait of Capacity that can.
	Queued, Capacity int
	// Lost is how many events found the queue full.
	Lost uint64
}

// Queues lists the queues of the present subscribers.
func (h *Hub) Queues() []Queue {
	list := h.list()
	queues := make([]Queue, 0, len(list))
	for _, s := range list {
		queues = append(queues, Queue{Number: s.number, Queued: len(s.queue), Capacity: cap(s.queue), Lost: s.Lost()})
	}
	return queues
}

// Lost is how many events found a queue full, of all subscriptions that there were.
func (h *Hub) Lost() uint64 { return h.lost.Load() }

// freeNumber is the least number that none of the subscribers has.
func freeNumber(list []*Subscription) (number int) {
	for slices.ContainsFunc(list, func(s *Subscription) bool { return s.number == number }) {
		number++
	}
	return number
}
