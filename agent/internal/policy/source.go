// SPDX-License-Identifier: Apache-2.0

package policy

import "fmt"

// Source is what a hook's value is read from.
type Source uint8

// The sources of values.
const (
	// SourceArg is the hook's own arguments, or the fields of its record.
	SourceArg Source = iota
	// SourceTask is the current task.
	SourceTask
	// SourceRegister is the registers at a kprobe, as its function finds them.
	SourceRegister
)

// TaskStruct is the kernel's type of a task.
const TaskStruct = "task_struct"

// String is the source's name in the language; the arguments have none.
func (s Source) String() string {
	switch s {
	case SourceArg:
		return "args"
	case SourceTask:
		return "current_task"
	case SourceRegister:
		return "pt_regs"
	}
	return fmt.Sprintf("Source(%d)", uint8(s))
}
