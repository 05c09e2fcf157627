// SPDX-License-Identifier: Apache-2.0

// Package metrics offers what the agent does and sees to Prometheus.
//
// What is counted elsewhere already (by the kernel, the cache, the queues) is asked
// for at each scrape, through the functions of [Sources]; nothing is polled between
// scrapes. Events alone are counted as they come: see [Metrics.Count].
//
// Containers come and go, and name themselves and their programs: label values are
// cut and made printable, the series of a container end some time after it does, and
// a metric has no more label sets than [MaxLabelSets], of which one workload has at
// most an eighth. What finds no room is counted under the label value "other".
package metrics
