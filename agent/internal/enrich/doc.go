// SPDX-License-Identifier: Apache-2.0

// Package enrich turns events of the kernel into messages of the API: it adds
// what is known of the process, its parent, its container and the rule.
//
// An [Enricher] keeps the process cache fed, also while nobody wants messages.
// Forks make no message, execs and exits one each, and a match of rules one for
// each rule that asks for it.
//
// Fields whose meaning is not obvious:
//
//   - process.docker is the first 31 characters of the container's id.
//   - process.pod is there for every process in a container that the agent knows,
//     in a pod or not, for it is where the API has room for a container's name
//     and image. Outside of pods its name and namespace are empty, so that the
//     filter for no namespace goes on meaning "in no pod".
//   - pod.container.pid is the pid in the process's innermost pid namespace. It is
//     absent for a process that was found in /proc, until it executes a program.
//   - pod.container.start_time is when the first task entered the container's
//     cgroup. Of one that ran before it was sealed it is the start of its init
//     process, and absent when nobody told which that is.
//   - pod.container.security_context is there when the container's hook told: see
//     privileged in the API.
//   - pod.container.maybe_exec_probe: see maybeExecProbe; pod.workload: see workload.
//   - process.user is the name of process.uid for a process in no container, where
//     names are asked for.
//   - process.refcnt is how many use the value that the message tells of, at the
//     time of the message.
//   - ancestors are from the parent's parent on, up to the kernel, at most 64: see
//     Line of package process.
//   - process.arguments are those after argv[0], with spaces between; one that is
//     empty or has white space in it stands in double quotes, without any escapes.
//   - process.uid and process.auid are those at the last exec or fork, uid the real
//     one; so are credentials, capabilities and namespaces, which are there when [Life]
//     says so. Of processes that were found in /proc securebits and what a user namespace
//     is apart from its number are not known.
//   - process.arguments and process.environment_variables of process_exec are all there
//     is, up to 3 MiB together, unless 64 MiB of such wait to be read. In other messages
//     they are the first 16 KiB of each, about. Where something is missing the flags are
//     truncArgs and errorEnvs.
//   - process.binary_properties are those of the file that was executed: a forked process
//     has none. Its file is there only when no directory has it any more.
//   - process.in_init_tree is there for processes in containers, once it is known.
//   - action is what was done to the process, not what the policy asks for: a rule
//     that kills reads KPROBE_ACTION_POST where its policy is only monitored.
//   - An argument without a value could not be read, or is a string of more than
//     4095 bytes; its label is there all the same.
//
// Bytes that are not UTF-8 become U+FFFD, as protobuf demands.
package enrich
