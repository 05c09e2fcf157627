// SPDX-License-Identifier: Apache-2.0

// Package agentclient tells the boltseal agent about a container and decides
// whether the container may start. The OCI hook and the NRI plugin share it, so
// that a failure means the same on both ways in.
//
// [Client.RuntimeHook] makes one unary gRPC call over the agent's unix socket.
// The package speaks the little HTTP/2 that such a call needs itself: linking
// grpc-go or net/http makes the start of a process that lives for two
// milliseconds half again as long or more.
//
// # One decision
//
// Every way a call can end is a [Cause], and [Decide] is the only place that
// turns a cause into a decision:
//
//	cause         what happened                                        decision
//	Acknowledged  grpc-status 0 with one whole message                 start
//	Refused       the agent judged the request and declined it:        block, whatever
//	              InvalidArgument, NotFound, AlreadyExists,            the policy says
//	              PermissionDenied, FailedPrecondition,
//	              OutOfRange, Unauthenticated
//	BadInput      no usable OCI state or config.json, no init pid,     block, whatever
//	              a request too large                                  the policy says
//	BadConfig     the hook's own configuration or its fail policy      block, whatever
//	              can not be used                                      the policy says
//	NotSealed     the agent answered with any other status: it was     fail policy
//	              asked rightly and could not do it (ResourceExhausted,
//	              Internal, Unavailable, Unimplemented, ...)
//	Unreachable   no socket, not a socket, nobody listens, the         fail policy
//	              listener is not root
//	NoAnswer      the agent hung past the deadline, hung up, or sent   fail policy
//	              what is not an answer
//	BadBundle     the runtime wrapper could not add the hook to the    fail policy
//	              bundle that a container is to be made from
//
// A refusal and broken input block under `allow` too: `allow` is an answer to an
// agent that is away, and a container must not be able to choose that answer by
// the way it describes itself. Whatever is not listed blocks.
//
// # Fail policy
//
// `block` keeps the container from starting. `allow` lets it start; it is
// reported late through the spool. `quarantine` acts as `block` until
// enforcement outlives the agent, and the decision's reason says so. The first
// rule that matches answers. If none does, it is not_since_boot when the agent
// has not been up since boot (it leaves a marker file on a tmpfs when it is up)
// and an answer for that case is set, otherwise default. A policy with a fault
// anywhere blocks everything.
//
// Rules look at what a container's maker wrote. Who may set annotations or name
// an image can choose among the answers that the rules give, so `allow` belongs
// behind what only an administrator sets.
//
// # Spool
//
// A container that was started without the agent's word is written down for it
// by [Spool]: one file per container in a directory of mode 0700 (default
// [DefaultSpoolDir]), named id-<container id>.pb, bytes outside [A-Za-z0-9._-]
// as %XX (an id too long for a file name is sha256-<hex of the id>.pb). The file
// of mode 0600 holds one tetragon.RuntimeHookRequest in the binary protobuf
// encoding whose createContainer has late set, and nothing else. It appears whole, by rename; names that begin with
// a dot are unfinished and can be removed when they are older than a minute.
// Who has taken a file in removes it. There are at most [MaxSpoolFiles] files of
// [MaxSpoolBytes] bytes together.
package agentclient
