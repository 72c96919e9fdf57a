package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// killDelay is how long a program that was asked to end may take before it is killed.
const killDelay = 4 * time.Second

// programArguments are those of pulumi-language-python-exec.
func programArguments(req *pulumirpc.RunRequest, engine, tracing string) []string {
	var args []string
	for _, a := range [][2]string{
		{"monitor", req.GetMonitorAddress()},
		{"engine", engine},
		{"project", req.GetProject()},
		{"root_directory", req.GetInfo().GetRootDirectory()},
		{"stack", req.GetStack()},
		{"pwd", req.GetPwd()},
		{"dry_run", strconv.FormatBool(req.GetDryRun())},
		{"parallel", strconv.Itoa(int(req.GetParallel()))},
		{"tracing", tracing},
		{"organization", req.GetOrganization()},
	} {
		if a[1] != "" {
			args = append(args, "--"+a[0], a[1])
		}
	}
	args = append(args, filepath.Join(req.GetInfo().GetProgramDirectory(), req.GetInfo().GetEntryPoint()))
	return append(args, req.GetArgs()...)
}

// programEnvironment hands the configuration to the program. An absent map or list is sent as an empty one: the program's side
// cannot read JSON's null.
func programEnvironment(req *pulumirpc.RunRequest) ([]string, error) {
	return configEnvironment(req.GetConfig(), req.GetConfigSecretKeys())
}

// policyEnvironment hands a policy pack its stack; a nil stack, as when a pack is only described, hands it nothing.
func policyEnvironment(stack *pulumirpc.AnalyzerStackConfigureRequest) ([]string, error) {
	if stack == nil {
		return nil, nil
	}
	environ, err := configEnvironment(stack.GetConfig(), stack.GetConfigSecretKeys())
	if err != nil {
		return nil, err
	}
	environ = append(environ,
		"PULUMI_PROJECT="+stack.GetProject(),
		"PULUMI_STACK="+stack.GetStack(),
		"PULUMI_DRY_RUN="+strconv.FormatBool(stack.GetDryRun()))
	if organization := stack.GetOrganization(); organization != "" {
		environ = append(environ, "PULUMI_ORGANIZATION="+organization)
	}
	return environ, nil
}

func configEnvironment(config map[string]string, secretKeys []string) ([]string, error) {
	if config == nil {
		config = map[string]string{}
	}
	if secretKeys == nil {
		secretKeys = []string{}
	}
	values, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("the stack's configuration: %w", err)
	}
	keys, err := json.Marshal(secretKeys)
	if err != nil {
		return nil, fmt.Errorf("the names of the stack's secrets: %w", err)
	}
	return []string{"PULUMI_CONFIG=" + string(values), "PULUMI_CONFIG_SECRET_KEYS=" + string(keys)}, nil
}

// startChild starts cmd, whose context ends it by SIGTERM (Python prints a traceback on SIGINT), and waits for it with `wait`.
func startChild(cmd *exec.Cmd, wait func() error) error {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	// A process group of its own keeps the terminal's Ctrl-C from it. Should this host be killed, so is the child: the kernel sends
	// Pdeathsig when the thread that started it ends, so that thread is kept.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	return wait()
}
