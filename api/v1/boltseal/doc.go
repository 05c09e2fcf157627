// SPDX-License-Identifier: Apache-2.0

// Package boltseal is our own API, served beside the compatible one.
package boltseal
