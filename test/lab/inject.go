// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// KernelVariable names a ready image of the kernel with error injection.
const KernelVariable = "BOLTSEAL_LAB_KERNEL"

// InjectKernel returns the image of the kernel with error injection: the one
// that the environment names, or the one in the cache.
func (c *Cache) InjectKernel(_ context.Context) (string, error) {
	if image := os.Getenv(KernelVariable); image != "" {
		if _, err := os.Stat(image); err != nil {
			return "", fmt.Errorf("%s: %w", KernelVariable, err)
		}
		return image, nil
	}
	return filepath.Join(c.Dir, "none"), fmt.Errorf("not built")
}
