// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/boltseal/boltseal/test/lab/job"
)

// qemu is a running machine.
type qemu struct {
	process *os.Process
	errs    *bytes.Buffer
	ended   chan struct{} // closed when the process has ended
	// The guest's ports.
	job, events, files net.Conn
}

// connectTime is how long QEMU may take to connect the ports, which it does
// before it starts the machine.
const connectTime = 30 * time.Second

// startQEMU starts a machine and connects its ports.
func startQEMU(dir string, m Machine, image, initrd, root string) (*qemu, error) {
	args := machineArgs(m, image, initrd, root)
	names := []string{job.JobPort, job.EventPort, job.FilesPort}
	listeners := make([]*net.UnixListener, len(names))
	for i, name := range names {
		path := filepath.Join(dir, strconv.Itoa(i))
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			return nil, err
		}
		defer l.Close()
		listeners[i] = l
		args = append(args, "-chardev", fmt.Sprintf("socket,id=port%d,path=%s", i, path),
			"-device", fmt.Sprintf("virtserialport,chardev=port%d,name=%s", i, name))
	}
	q, err := start(args)
	if err != nil {
		return nil, err
	}
	for i, conn := range []*net.Conn{&q.job, &q.events, &q.files} {
		err := listeners[i].SetDeadline(time.Now().Add(connectTime))
		if err == nil {
			*conn, err = listeners[i].Accept()
		}
		if err != nil {
			q.kill()
			return nil, fmt.Errorf("connect to QEMU: %w\n%s", err, q.errs)
		}
	}
	return q, nil
}

// cpu is what the guest's processor can do. QEMU 7.2 leaves garbage in the flags
// after CMPXCHG16B, which the kernel's allocator uses: an interrupt there saves
// it, and the return from it traps (seen on 6.12 as double faults in __kmalloc, in
// one of a few minutes under load). Kernels that can do without the instruction
// are not told of it.
func cpu(k Kernel) string {
	if k.NeedsCX16 {
		return "max,la57=off"
	}
	return "max,la57=off,cx16=off"
}

func machineArgs(m Machine, image, initrd, root string) []string {
	threads := "single"
	if m.MultiThreaded {
		threads = "multi"
	}
	disk := func(id, path string) []string {
		return []string{
			"-drive", fmt.Sprintf("file=%s,if=none,id=%s,format=raw,readonly=on,cache=unsafe", path, id),
			"-device", "virtio-blk-pci,drive=" + id,
		}
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg,thread=" + threads + ",tb-size=512", "-cpu", cpu(m.Kernel), "-machine", "q35,usb=off,sata=off,smbus=off",
		"-smp", strconv.Itoa(m.CPUs), "-m", strconv.Itoa(m.MemoryMB),
		"-kernel", image, "-initrd", initrd, "-append", m.parameters(),
		"-chardev", "file,id=console,path=" + m.Console, "-serial", "chardev:console",
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
	}
	args = append(args, disk("root", root)...)
	return append(args, disk("files", m.Disk)...)
}

// start starts QEMU such that it ends with this process, however that ends: the
// kernel watches the thread that started it, which therefore stays.
func start(args []string) (*qemu, error) {
	q := &qemu{errs: &bytes.Buffer{}, ended: make(chan struct{})}
	cmd := exec.Command("qemu-system-x86_64", args...)
	cmd.Stderr = q.errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended says nothing: its words do
			close(q.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	q.process = cmd.Process
	return q, nil
}

// kill ends the machine, if it has not ended, and waits for that.
func (q *qemu) kill() {
	_ = q.process.Kill() // it may have ended
	<-q.ended
	for _, conn := range []net.Conn{q.job, q.events, q.files} {
		if conn != nil {
			_ = conn.Close()
		}
	}
}

// lastWords returns the end of the console and what QEMU said.
func (q *qemu) lastWords(console string) string {
	q.kill()
	data, err := os.ReadFile(console)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	text := strings.TrimSpace(strings.ReplaceAll(string(data), "\r", ""))
	if text == "" {
		text = "(nothing)"
	}
	words := "the end of its console:\n" + fault(text)
	if said := strings.TrimSpace(q.errs.String()); said != "" {
		words += "\nQEMU said:\n" + tail(said, 1000)
	}
	return words
}

// fault returns the part of a console that tells what went wrong: from the first
// complaint of the kernel on, or else the end.
func fault(console string) string {
	const limit = 4000
	first := len(console)
	for _, complaint := range []string{"Oops", "BUG: ", "Kernel panic", "Internal error", "general protection"} {
		if at := strings.Index(console, complaint); at >= 0 {
			first = min(first, at)
		}
	}
	if first == len(console) {
		return tail(console, limit)
	}
	first = strings.LastIndexByte(console[:first], '\n') + 1
	return console[first:min(len(console), first+limit)]
}
