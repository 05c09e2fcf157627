// SPDX-License-Identifier: Apache-2.0

// Package tetragon is the compatible API: the messages and the service
// tetragon.FineGuidanceSensors, with the numbers that existing clients use. Our
// own fields of CreateContainer begin at 1000; everything else of ours is in
// package boltseal.
package tetragon
