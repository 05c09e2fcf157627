// SPDX-License-Identifier: Apache-2.0

// Command boltseal-hook is an OCI hook. Registered for createRuntime it tells the
// boltseal agent about the container that is being created and lets it start
// only when the agent has sealed it, or when the fail policy says so.
//
//	boltseal-hook [flags] STAGE
//
// It reads the OCI state from standard input and config.json from the state's
// bundle (package bundle), makes one call to the agent, and turns whatever came
// of it into a decision (package agentclient has the table). Exit status 0 lets
// the container start; 1 keeps it from starting and says why on standard error;
// 2 is a call that was spelled wrongly, and keeps it from starting, too.
//
// # Stages
//
//	createRuntime            does the work
//	prestart                 does the work (its name before OCI runtime-spec 1.0.2)
//	poststart, poststop      nothing to do: exit 0, one log line
//	createContainer,         refused: they run inside the container's namespaces,
//	startContainer           where the state's pid is another process (runc says 1,
//	                         the host's init) and the agent's socket may be gone
//	anything else            refused, with the usage
//
// # In a runtime's place
//
// Called as boltseal-runc or boltseal-crun (a link will do), by a name that the
// configuration maps to a runtime, or as
//
//	boltseal-hook runtime [flags] --exec RUNTIME [ARGUMENT...]
//
// it is a low-level runtime for engines that know no hooks, such as Docker. On create,
// run and restore it adds itself as the last createRuntime hook to the bundle's
// config.json, if it is not there. Then it becomes the runtime by execve: same pid,
// arguments, environment, streams, signals and exit status. All other commands, and
// command lines that it does not understand, are executed as they are; the log tells of
// the latter. Where the hook cannot be added the fail policy decides: block refuses, on
// standard error and in the runtime's own log, where engines look. A container that
// starts under allow then is not written to the spool, as it has no process yet.
//
// Before exec the agent is told which process will enter which container. That takes a
// fifth of a second at most, and exec goes on whatever comes of it.
//
// The runtime is the one of --exec or of the configuration, else the one that $PATH has
// by the name behind "boltseal-"; never the wrapper itself. Signals other than SIGHUP and
// SIGINT that were ignored at its start have their default effect in the runtime.
//
// # Time
//
// The deadline covers everything from the start of the process: reading standard
// input, the bundle and the answer are all given up in time for the decision to be
// written down. The process outlives it by a second at most, and only where the spool
// or the log takes so long. Give the hook's own "timeout" in the runtime's
// configuration a larger value, so that it is the fail policy that answers and not the
// runtime.
//
// # Configuration
//
// /etc/boltseal/hook.json, or --config; flags win. Every key is optional, an
// unknown key or a broken value blocks every container:
//
//	{
//	  "address": "unix:///run/boltseal/boltseal.sock",
//	  "deadline": "2s",
//	  "log_file": "",
//	  "spool_dir": "/run/boltseal/spool",
//	  "booted_file": "/run/boltseal/booted",
//	  "fail_policy": {
//	    "default": "block",
//	    "not_since_boot": "",
//	    "rules": [
//	      {"match": {"image": ["registry.example/boltseal/*"]}, "policy": "allow"},
//	      {"match": {"namespace": ["kube-system"], "labels": {"tier": "node-*"}}, "policy": "allow"}
//	    ]
//	  },
//	  "runtimes": {
//	    "boltseal-runc": {"path": "/usr/sbin/runc"}
//	  }
//	}
//
// log_file gets one JSON line per run ("-" is standard error); the hook does not
// rotate it. In a runtime's place "-" is no log, as standard error is the runtime's.
// Without one, only failures are told, as text on standard error.
package main
