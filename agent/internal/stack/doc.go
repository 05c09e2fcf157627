// SPDX-License-Identifier: Apache-2.0

// Package stack names the functions of stacks: those of the kernel by
// /proc/kallsyms, those of a process by the ELF files that it has mapped, which are
// opened where the kernel shows the very file of a mapping (/proc/PID/map_files), so
// that no path of the process leads anywhere else.
//
// # What can go wrong, and does not matter
//
// The process chooses its files, their file systems, and when it ends. Files are
// read by workers, at most [Workers] at once: who waits for one waits no longer
// than [MaxWait], and for no more than a tenth of all time; then the frames have no
// names, and the worker goes on, for the next time. One whose file system never
// answers is lost until it does. An ELF file is read at the places that its tables
// name, each of a bounded length; what does not fit together makes no symbols. When
// the process has ended, as one does that was killed, there are no names.
//
// # Addresses
//
// They tell where the kernel and programs are in memory, and are left out unless
// [Options.Addresses] asks for them. Offsets stay: in the function where there is a
// name, else in the module's file. Frames of the agent's own programs are left out
// of the kernel's stacks.
package stack
