// SPDX-License-Identifier: Apache-2.0

package bundle

// maxArgs bounds the arguments of a notice, in bytes: a command line may be megabytes.
const maxArgs = 32 << 10

// Field numbers of ExecNoticeRequest.
const (
	fieldNoticeContainer field = 1
	fieldNoticePid       field = 2
	fieldNoticeArgs      field = 3
	fieldNoticeCwd       field = 4
	fieldNoticeUser      field = 5
	fieldNoticeTTY       field = 6
)

// ExecNotice is what the agent is told about a process that a runtime is about to start
// in a running container: the fields of the API's ExecNoticeRequest.
type ExecNotice struct {
	ContainerID string
	RuntimePid  uint32
	Args        []string
	Cwd, User   string
	TTY         bool
}

// Marshal encodes the notice as the protobuf message boltseal.v1.ExecNoticeRequest.
// Arguments from the one on with which they get longer than 32 KiB are left out.
func (n ExecNotice) Marshal() []byte {
	b := appendString(nil, fieldNoticeContainer, n.ContainerID)
	b = appendNumber(b, fieldNoticePid, uint64(n.RuntimePid))
	size := 0
	for _, arg := range n.Args {
		if size += len(arg); size > maxArgs {
			break
		}
		b = appendBytes(b, fieldNoticeArgs, valid(arg))
	}
	b = appendString(b, fieldNoticeCwd, n.Cwd)
	b = appendString(b, fieldNoticeUser, n.User)
	return appendNumber(b, fieldNoticeTTY, number(n.TTY))
}
