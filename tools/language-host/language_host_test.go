package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/structpb"
)

func info(t *testing.T, root string, options map[string]any) *pulumirpc.ProgramInfo {
	t.Helper()
	given, err := structpb.NewStruct(options)
	if err != nil {
		t.Fatal(err)
	}
	return &pulumirpc.ProgramInfo{RootDirectory: root, ProgramDirectory: root, EntryPoint: ".", Options: given}
}

func TestConfigurationIsNeverNull(t *testing.T) {
	environ, err := programEnvironment(&pulumirpc.RunRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PULUMI_CONFIG={}", "PULUMI_CONFIG_SECRET_KEYS=[]"} {
		if !slices.Contains(environ, want) {
			t.Errorf("an empty configuration must arrive as %s: %v", want, environ)
		}
	}
	environ, err = programEnvironment(&pulumirpc.RunRequest{
		Config: map[string]string{"p:k": "v"}, ConfigSecretKeys: []string{"p:k"},
	})
	if err != nil || environ[0] != `PULUMI_CONFIG={"p:k":"v"}` || environ[1] != `PULUMI_CONFIG_SECRET_KEYS=["p:k"]` {
		t.Errorf("got %v, %v", environ, err)
	}
}

func TestAPolicyPackLearnsItsStack(t *testing.T) {
	environ, err := policyEnvironment(&pulumirpc.AnalyzerStackConfigureRequest{
		Project: "antmedia", Stack: "prod", DryRun: true, Config: map[string]string{"p:k": "v"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`PULUMI_CONFIG={"p:k":"v"}`, "PULUMI_PROJECT=antmedia", "PULUMI_STACK=prod", "PULUMI_DRY_RUN=true",
	} {
		if !slices.Contains(environ, want) {
			t.Errorf("%s is missing in %v", want, environ)
		}
	}
	if environ, err := policyEnvironment(nil); err != nil || len(environ) != 0 {
		t.Errorf("a pack that is only described has no stack: %v, %v", environ, err)
	}
}

func TestTheProgramIsNamedByItsDirectoryAndEntryPoint(t *testing.T) {
	args := programArguments(&pulumirpc.RunRequest{
		Project: "antmedia", Stack: "dev", Pwd: "/p", DryRun: true, Parallel: 8, MonitorAddress: "127.0.0.1:1",
		Info: info(t, "/p", nil), Args: []string{"extra"},
	}, "127.0.0.1:2", "")
	line := strings.Join(args, " ")
	want := "--monitor 127.0.0.1:1 --engine 127.0.0.1:2 --project antmedia --root_directory /p --stack dev --pwd /p " +
		"--dry_run true --parallel 8 /p extra"
	if line != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
}

func TestOptionsOfPulumiYamlChooseTheInterpreter(t *testing.T) {
	root := t.TempDir()
	python, err := interpreter(info(t, root, map[string]any{"toolchain": "pip", "virtualenv": ".venv"}))
	if err != nil {
		t.Fatal(err)
	}
	if path, err := python.VirtualEnvPath(t.Context()); err != nil || path != filepath.Join(root, ".venv") {
		t.Errorf("virtualenv is relative to Pulumi.yaml: %s, %v", path, err)
	}
	for name, options := range map[string]map[string]any{
		"conda":   {"toolchain": "conda"},
		"mypy":    {"typechecker": "mypy"},
		"be text": {"virtualenv": 5},
	} {
		if _, err := interpreter(info(t, root, options)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v should be refused with a sentence naming %s: %v", options, name, err)
		}
	}
}

func TestRequiredPluginsAreThoseThePackagesName(t *testing.T) {
	folder := t.TempDir()
	for file, content := range map[string]string{
		"pulumi/pulumi-plugin.json":            `{"resource": false}`,
		"pulumi_aws/pulumi-plugin.json":        `{"resource": true, "name": "aws", "version": "7.22.0"}`,
		"pulumi_other_one/pulumi-plugin.json":  `{"resource": true, "version": "1.0.0", "server": "https://example.com"}`,
		"not_pulumi_at_all/something_else.txt": ``,
	} {
		path := filepath.Join(folder, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	packages, err := requiredPackages([]string{folder})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range packages {
		got = append(got, strings.Join([]string{p.GetKind(), p.GetName(), p.GetVersion(), p.GetServer()}, " "))
	}
	slices.Sort(got)
	want := []string{"resource aws 7.22.0 ", "resource other_one 1.0.0 https://example.com"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestPipsVersionIsToldWithoutStartingPip(t *testing.T) {
	root := t.TempDir()
	for file, content := range map[string]string{
		"bin/python": "#!/bin/sh\n[ \"$*\" = --version ] && echo Python 3.11.7\n",
		"lib/python3.11/site-packages/pip-23.2.1.dist-info/METADATA": "",
	} {
		path := filepath.Join(root, ".venv", file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	told, err := new(languageHost).About(t.Context(), &pulumirpc.AboutRequest{
		Info: info(t, root, map[string]any{"virtualenv": ".venv"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if told.GetVersion() != "3.11.7" || told.GetMetadata()["pip"] != "23.2.1" ||
		told.GetExecutable() != filepath.Join(root, ".venv", "bin", "python") {
		t.Errorf("got %v", told)
	}
}

func TestAProgramsEndIsReportedInTheEnginesTerms(t *testing.T) {
	for script, check := range map[string]func(*pulumirpc.RunResponse) bool{
		"exit 0":  func(r *pulumirpc.RunResponse) bool { return r.GetError() == "" && !r.GetBail() },
		"exit 32": func(r *pulumirpc.RunResponse) bool { return r.GetError() == "" && r.GetBail() },
		"exit 3":  func(r *pulumirpc.RunResponse) bool { return strings.Contains(r.GetError(), "exit code: 3") },
	} {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
		if r := runResponse(t.Context(), startChild(cmd, cmd.Wait)); !check(r) {
			t.Errorf("%s: %v", script, r)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/no/such/python")
	if r := runResponse(t.Context(), startChild(cmd, cmd.Wait)); !strings.Contains(r.GetError(), "could not be run") {
		t.Errorf("a missing interpreter: %v", r)
	}
}

func TestACancelledProgramIsAskedToEndWithoutATraceback(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	file := filepath.Join(t.TempDir(), "signal")
	script := "trap 'echo INT >" + file + "; exit 1' INT; trap 'echo TERM >" + file + "; exit 1' TERM; " +
		"echo ready >&3; while :; do sleep 0.05; done"
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script)
	cmd.ExtraFiles = []*os.File{writer}
	go func() {
		_, _ = reader.Read(make([]byte, 8)) // "ready"
		cancel()
	}()
	started := time.Now()
	err = startChild(cmd, cmd.Wait)
	if err == nil || time.Since(started) > killDelay {
		t.Errorf("ended after %s with %v", time.Since(started), err)
	}
	if signal, err := os.ReadFile(file); err != nil || string(signal) != "TERM\n" {
		t.Errorf("Python prints a traceback on SIGINT, so it is to be SIGTERM: %q, %v", signal, err)
	}
	if r := runResponse(ctx, errors.New("signal: terminated")); r.GetError() != "the program was stopped" {
		t.Errorf("got %v", r)
	}
}
