// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/settings"
	"github.com/boltseal/boltseal/hook/wrapper"
)

// noticeTime is the most time that exec waits for the agent to take the notice.
const noticeTime = 200 * time.Millisecond

// wrap is one run in a runtime's place.
type wrap struct {
	// name is what the program was called by, when that says which runtime it is for.
	name string
	// runtime is the path or the name of the runtime, args its arguments.
	runtime string
	args    []string
	opts    options
	// usage is what is wrong with a call as the command runtime.
	usage   error
	std     streams
	config  settings.Settings
	command wrapper.Command
}

// wrapperOf returns the run when the program was called in a runtime's place, else nil.
func wrapperOf(argv []string, std streams) *wrap {
	if len(argv) == 0 {
		return nil
	}
	w := &wrap{name: filepath.Base(argv[0]), args: argv[1:], std: std}
	if w.runtime = wrapper.RuntimeOf(w.name); w.runtime != "" {
		return w
	}
	if w.name != "boltseal-hook" {
		// Whatever is wrong with the configuration, whoever uses it next tells.
		known, _ := settings.Load("", settings.File{})
		if mapped, ok := known.Runtimes[w.name]; ok {
			w.runtime = mapped.Path
			return w
		}
	}
	if len(argv) < 2 || argv[1] != "runtime" {
		return nil
	}
	w.name = ""
	w.opts, w.runtime, w.args, w.usage = parseRuntimeArgs(argv[2:])
	return w
}

// run prepares the runtime and becomes it. It returns, with the exit status, only when
// that failed or was refused.
func (w *wrap) run() int {
	switch {
	case w.usage != nil:
		fmt.Fprintf(w.std.err, "boltseal-hook: %v\n%s", w.usage, usage)
		return exitUsage
	case w.opts.help:
		fmt.Fprint(w.std.out, usage)
		return exitStart
	}
	w.command = wrapper.Parse(w.args)
	var configErr error
	if w.name != "" || w.command.Creates() || w.command.Name == "exec" || w.command.Unknown != "" {
		w.config, configErr = w.opts.settings()
	}
	if mapped, ok := w.config.Runtimes[w.name]; ok {
		w.runtime = mapped.Path
	}
	path, err := w.find()
	if err != nil {
		return w.refuse(errors.Join(err, configErr).Error())
	}
	switch {
	case w.command.Unknown != "":
		w.log(slog.LevelWarn, "executed as it is: flag not understood", slog.String("flag", w.command.Unknown))
	case w.command.Creates():
		if reason := w.addHook(configErr); reason != "" {
			return w.refuse(reason)
		}
	case w.command.Name == "exec" && configErr == nil:
		w.notice()
	}
	//nolint:gosec // to execute what the caller names is the wrapper's purpose
	err = syscall.Exec(path, append([]string{path}, w.args...), os.Environ())
	return w.refuse(fmt.Sprintf("execute %s: %v", path, err))
}

// find returns the path of the runtime.
func (w *wrap) find() (string, error) {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", err
	}
	return wrapper.Find(w.runtime, os.Getenv("PATH"), self)
}

// addHook adds the hook to the bundle. It returns why the runtime may not be executed,
// empty when it may.
func (w *wrap) addHook(configErr error) (refusal string) {
	outcome := agentclient.Outcome{Cause: agentclient.BadConfig, Err: configErr}
	added := false
	if configErr == nil {
		self, err := os.Executable()
		if err == nil {
			added, err = wrapper.AddToBundles(w.command, wrapper.Hook{
				Path: self, Args: w.opts.again(), Timeout: w.config.HookTimeout(),
			})
		}
		if err == nil {
			w.log(slog.LevelInfo, "hook in place", slog.Bool("added", added))
			return ""
		}
		outcome = agentclient.Outcome{Cause: agentclient.BadBundle, Err: err, NeverUp: w.config.NeverUp()}
	}
	// Who the container is stands in the bundle, so rules about it do not match.
	decision := agentclient.Decide(outcome, w.config.FailPolicy, agentclient.Subject{})
	if !decision.Start {
		return decision.Reason
	}
	w.log(slog.LevelWarn, "executed without the hook", slog.String("reason", decision.Reason))
	return ""
}

// notice tells the agent who is about to enter a container. What it cannot tell is
// only logged.
func (w *wrap) notice() {
	notice, err := wrapper.NoticeOf(w.command, os.Getpid())
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), min(noticeTime, w.config.Deadline))
		defer cancel()
		client := agentclient.Client{Address: w.config.Address}
		err = client.ExecNotice(ctx, notice.Marshal())
	}
	if err != nil {
		w.log(slog.LevelWarn, "agent not told of exec", slog.String("reason", err.Error()))
	}
}

// refuse says on standard error and in both logs why the runtime was not executed, and
// returns the exit status.
func (w *wrap) refuse(reason string) int {
	text := oneLine(fmt.Sprintf("boltseal-hook: %s: not executed: %s", w.what(), reason))
	fmt.Fprintln(w.std.err, text)
	if err := wrapper.WriteError(w.command, text, time.Now()); err != nil {
		fmt.Fprintln(w.std.err, oneLine("boltseal-hook: "+err.Error()))
	}
	w.log(slog.LevelError, "not executed", slog.String("reason", reason))
	return exitBlock
}

// what names the runtime and its command, for people.
func (w *wrap) what() string {
	if w.command.Name == "" {
		return w.runtime
	}
	return w.runtime + " " + w.command.Name
}

// log appends a line to the log file, when there is one. Standard error is not for it:
// engines read what the runtime has there. A log that cannot be written is no reason not
// to run.
func (w *wrap) log(level slog.Level, outcome string, attrs ...slog.Attr) {
	if w.config.LogFile == "" || w.config.LogFile == "-" {
		return
	}
	out, err := openLog(w.config.LogFile, w.std.err)
	if err != nil {
		return
	}
	defer out.Close()
	attrs = append(attrs, slog.String("outcome", outcome), slog.String("runtime", w.runtime), slog.String("command", w.command.Name))
	slog.New(slog.NewJSONHandler(out, nil)).LogAttrs(context.Background(), level, "runtime", attrs...)
}
