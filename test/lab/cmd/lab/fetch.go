// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/test/lab"
	"github.com/boltseal/boltseal/test/lab/room"
)

func fetchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "fetch",
		Short: "Fetch the kernels and the root file systems, of rooms too, into the cache: what is there needs no network",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open(cmd.Context(), os.Stderr)
			if err != nil {
				return err
			}
			var errs []error
			for _, k := range lab.Kernels() {
				err := l.Fetch(cmd.Context(), k)
				errs = append(errs, err)
				if err == nil {
					fmt.Println(k.Name)
				}
			}
			for _, suite := range room.Suites() {
				_, err := l.Room(cmd.Context(), suite)
				errs = append(errs, err)
				if err == nil {
					fmt.Println("room of", suite)
				}
			}
			return errors.Join(append(errs, l.Close())...)
		},
	}
}

func kernelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kernel",
		Short: "Build the kernel with error injection into the cache and print where its image is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cache, err := lab.OpenCache(os.Stderr)
			if err != nil {
				return err
			}
			image, err := cache.BuildKernel(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Println(image)
			return nil
		},
	}
}
