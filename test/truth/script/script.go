// SPDX-License-Identifier: Apache-2.0

package script

// Kind is what an operation does.
type Kind uint16

// The kinds of operations. Where one is about another process, Node names it; a
// process that could not be born is passed over.
const (
	// Fork makes the process Node, which goes on at To, with the clone flags Value.
	Fork Kind = 1 + iota
	// Spawn makes Node by vfork and execution of Exec, which must not fail. Only for
	// processes that have executed a file since they were forked.
	Spawn
	// Execute executes Exec; the operation after it follows when that fails.
	Execute
	// Wait reaps the child Node, WaitAll all children that there are and come.
	Wait
	WaitAll
	// Await waits until Node is in the state Value, or has ended without that its script
	// ended it.
	Await
	// Adopted waits until the process has another parent than Node.
	Adopted
	// Park waits for ever, in the state Parked.
	Park
	// Kill sends Value to Node; KillGroup to the process group that Node leads.
	Kill
	KillGroup
	// Exit ends the process with the status Value; ExitThread by ending its one thread.
	Exit
	ExitThread
	// KillSelf ends the process with the signal Value.
	KillSelf
	// Chdir goes to the directory Text, SetUID to the user Value.
	Chdir
	SetUID
	// Lead makes the process the leader of a new process group.
	Lead
	// Reaper makes the process one that orphans below it come to.
	Reaper
)

// The states of processes, which only grow.
const (
	Unborn = iota
	Born
	Parked
)

// Op is one operation.
type Op struct {
	Kind Kind
	// Owner is the process that does it, in its image Image: 0 is what it was forked
	// as, and each exec makes the next.
	Owner, Image int
	Node         int
	To, Exec     int
	Value        uint64
	// Cgroup is the descriptor of the cgroup to be born into, -1: the parent's.
	Cgroup int
	// Again, if not 0, is one more than the node whose pid the child gets again.
	Again int
	Text  []byte
}

// How an Exec names its file.
const (
	// ByPath: Path.
	ByPath = iota
	// ByDescriptor: the descriptor FD.
	ByDescriptor
)

// Threads of an image.
const (
	// Leader: the first thread does what is to be done.
	Leader = iota
	// Follower: another thread does, and the first one sleeps.
	Follower
	// Orphaned: another thread does, and the first one has exited.
	Orphaned
)

// Exec is one execution of the performer, or of a file that cannot be executed.
type Exec struct {
	How  int
	FD   int
	Path []byte
	Args [][]byte
	// To is where the new image of Node goes on, in one of its Threads; Idle more
	// threads sleep.
	Node, Image, To int
	Threads, Idle   int
	// Errno is what the kernel answers; 0: it is executed.
	Errno int
	// Binary, Argv and Cwd are what a program then finds: the path of the file that
	// runs, its arguments, and where it is. They are for those who check.
	Binary, Cwd []byte
	Argv        [][]byte
}

// Script is what a tree of processes does. Node 0 begins as Execs[First].
type Script struct {
	Name         string
	Nodes, First int
	Ops          []Op
	Execs        []Exec
}

// NoEnd is the status of a process whose script does not end it.
const NoEnd = 251

// What the performer is started with: descriptors that it passes on to all of its
// children, and the variable that has the number of the exec.
const (
	JournalFD = 3 + iota
	ScriptFD
	MemoryFD // the performer in a file without a name
	FileFD   // the performer, open
	CgroupFD // a cgroup; others follow
)

// Variable names the environment variable with the number of the exec.
const Variable = "BOLTSEAL_TRUTH"
