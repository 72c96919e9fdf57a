package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/structpb"
)

func ptr[T any](v T) *T { return &v }

func TestMain(m *testing.M) {
	_ = os.Unsetenv("SSH_AUTH_SOCK") // a person's agent has no part in this
	os.Exit(m.Run())
}

func remote(server *sshServer, create string) RemoteArgs {
	return RemoteArgs{Script: Script{Create: &create}, Connection: Connection{Endpoint: server.endpoint()}}
}

func run(t *testing.T, args RemoteArgs) Output {
	t.Helper()
	out, err := args.run(context.Background(), args.Create, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStandardInputArrivesUnchanged(t *testing.T) {
	args := remote(startServer(t, "ed25519"), "cat; echo to-stderr >&2")
	args.Stdin = ptr("line 1\n  line 2 with $HOME and 'quotes'\n")
	out := run(t, args)
	if out.Stdout != strings.TrimSuffix(*args.Stdin, "\n") || out.Stderr != "to-stderr" {
		t.Errorf("got %q and %q", out.Stdout, out.Stderr)
	}
}

func TestAPinnedHostKeyIsFoundAmongOthers(t *testing.T) {
	server := startServer(t, "rsa", "ecdsa", "ed25519")
	for i, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		args := remote(server, "echo connected")
		args.Connection.HostKey = server.pinned(i)
		if out := run(t, args); out.Stdout != "connected" {
			t.Errorf("%s: got %q", kind, out.Stdout)
		}
	}
}

func TestAWrongHostKeyIsRefusedBeforeAnythingRuns(t *testing.T) {
	server, other := startServer(t, "ed25519"), startServer(t, "ed25519")
	file := filepath.Join(t.TempDir(), "ran")
	args := remote(server, "touch "+file)
	args.Connection.HostKey = other.pinned(0)
	args.Connection.DialErrorLimit = ptr(1)
	_, err := args.run(context.Background(), args.Create, nil)
	if !errors.Is(err, errHostKey) || !strings.Contains(err.Error(), "SHA256:") {
		t.Errorf("the refusal should name the key that the server sent: %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the command ran on a host that is not the expected one")
	}
}

func TestConnectingIsTriedAgainWhileTheHostBoots(t *testing.T) {
	server := startServer(t, "ed25519")
	server.refuse.Store(3)
	if out := run(t, remote(server, "echo up")); out.Stdout != "up" {
		t.Errorf("got %q", out.Stdout)
	}
	if seen := server.seen.Load(); seen != 4 {
		t.Errorf("3 refused connections took %d tries, not 4", seen)
	}
}

func TestDialErrorLimitEndsTheTries(t *testing.T) {
	server := startServer(t, "ed25519")
	server.refuse.Store(1000)
	args := remote(server, "true")
	args.Connection.DialErrorLimit = ptr(2)
	_, err := args.run(context.Background(), args.Create, nil)
	if err == nil || server.seen.Load() != 3 {
		t.Errorf("2 errors are allowed, the third ends it; after %d tries: %v", server.seen.Load(), err)
	}
}

func TestCancellingStopsConnecting(t *testing.T) {
	server := startServer(t, "ed25519")
	server.refuse.Store(1000)
	args := remote(server, "true")
	args.Connection.DialErrorLimit = ptr(-1)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	started := time.Now()
	if _, err := args.run(ctx, args.Create, nil); err == nil || time.Since(started) > 5*time.Second {
		t.Errorf("still connecting %s after it was cancelled: %v", time.Since(started), err)
	}
}

func TestARunningRemoteCommandIsWaitedForWhenCancelled(t *testing.T) {
	server := startServer(t, "ed25519")
	ctx, cancel := context.WithCancel(context.Background())
	file := filepath.Join(t.TempDir(), "begun")
	args := remote(server, "touch "+file+"; sleep 1; echo finished")
	go func() {
		for range 100 {
			if _, err := os.Stat(file); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
	}()
	out, err := args.run(ctx, args.Create, nil)
	if err != nil || out.Stdout != "finished" {
		t.Errorf("a command that has begun is recorded only if it is waited for: %q, %v", out.Stdout, err)
	}
}

func TestAFailureShowsCommandAndBothStreams(t *testing.T) {
	args := remote(startServer(t, "ed25519"), "echo said; echo complained >&2; exit 3")
	args.Logging = ptr("none")
	args.Stdin = ptr("a secret from stdin")
	_, err := args.run(context.Background(), args.Create, nil)
	if err == nil {
		t.Fatal("exit code 3 is a failure")
	}
	for _, part := range []string{"status 3", "echo said;", "said\n", "complained\n"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Error("standard input is never shown")
	}
}

func TestAProxyIsPassedThrough(t *testing.T) {
	proxy, target := startServer(t, "ed25519"), startServer(t, "ed25519")
	args := remote(target, "echo behind")
	args.Connection.HostKey = target.pinned(0)
	through := proxy.endpoint()
	through.HostKey = proxy.pinned(0)
	args.Connection.Proxy = &through
	if out := run(t, args); out.Stdout != "behind" || proxy.seen.Load() != 1 {
		t.Errorf("got %q, %d connections to the proxy", out.Stdout, proxy.seen.Load())
	}
}

func TestVariablesTheServerDoesNotAcceptAreAnError(t *testing.T) {
	server := startServer(t, "ed25519")
	server.accepted["ACCEPTED"] = true
	args := remote(server, "echo $ACCEPTED")
	args.Environment = map[string]string{"ACCEPTED": "yes"}
	if out := run(t, args); out.Stdout != "yes" {
		t.Errorf("got %q", out.Stdout)
	}
	args.Environment = map[string]string{"DROPPED": "x"}
	if _, err := args.run(context.Background(), args.Create, nil); err == nil || !strings.Contains(err.Error(), "DROPPED") {
		t.Errorf("the error should name the variable: %v", err)
	}
}

func TestUpdateRunsUpdateOrElseCreate(t *testing.T) {
	server := startServer(t, "ed25519")
	server.accepted["PULUMI_COMMAND_STDOUT"] = true
	server.accepted["PULUMI_COMMAND_STDERR"] = true
	old := RemoteState{RemoteArgs: remote(server, "echo created"), Output: Output{Stdout: "before"}}
	for update, want := range map[string]string{"": "created", "echo was $PULUMI_COMMAND_STDOUT": "was before"} {
		args := remote(server, "echo created")
		if update != "" {
			args.Update = &update
		}
		done, err := Remote{}.Update(context.Background(), infer.UpdateRequest[RemoteArgs, RemoteState]{Inputs: args, State: old})
		if err != nil || done.Output.Stdout != want {
			t.Errorf("update %q gave %q, %v", update, done.Output.Stdout, err)
		}
	}
}

func TestDeleteRunsDeleteAndNothingWithoutOne(t *testing.T) {
	server := startServer(t, "ed25519")
	file := filepath.Join(t.TempDir(), "deleted")
	state := RemoteState{RemoteArgs: remote(server, "true")}
	if _, err := (Remote{}).Delete(context.Background(), infer.DeleteRequest[RemoteState]{State: state}); err != nil {
		t.Error(err)
	}
	if server.seen.Load() != 0 {
		t.Error("without a delete command there is no reason to connect")
	}
	state.Delete = ptr("touch " + file)
	if _, err := (Remote{}).Delete(context.Background(), infer.DeleteRequest[RemoteState]{State: state}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("the delete command did not run")
	}
}

func TestPreviewRunsNothing(t *testing.T) {
	server := startServer(t, "ed25519")
	args := remote(server, "true")
	if _, err := (Remote{}).Create(context.Background(), infer.CreateRequest[RemoteArgs]{Inputs: args, DryRun: true}); err != nil {
		t.Error(err)
	}
	if server.seen.Load() != 0 {
		t.Error("a preview connected to the host")
	}
}

func TestAChangeShowsAsAnUpdateOfThatInput(t *testing.T) {
	provider, err := build()
	if err != nil {
		t.Fatal(err)
	}
	server, err := p.RawServer("command", "1.2.1", provider)(nil)
	if err != nil {
		t.Fatal(err)
	}
	properties := func(create, host, trigger string, more map[string]any) *structpb.Struct {
		all := map[string]any{"create": create, "triggers": []any{trigger}, "connection": map[string]any{"host": host}}
		maps.Copy(all, more)
		result, err := structpb.NewStruct(all)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	for _, c := range []struct {
		changed string
		inputs  *structpb.Struct
	}{
		// The package pulumi_command tells the engine that a change of triggers replaces; to the provider it is one like any other.
		{"triggers", properties("echo a", "h1", "t2", nil)},
		{"create", properties("echo b", "h1", "t1", nil)},
		{"connection", properties("echo a", "h2", "t1", nil)},
	} {
		diff, err := server.Diff(t.Context(), &pulumirpc.DiffRequest{
			Id: "x", Urn: "urn:pulumi:stack::project::command:remote:Command::name",
			Olds:      properties("echo a", "h1", "t1", map[string]any{"stdout": "a", "stderr": ""}),
			OldInputs: properties("echo a", "h1", "t1", nil),
			News:      c.inputs,
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff.GetChanges() != pulumirpc.DiffResponse_DIFF_SOME || len(diff.GetReplaces()) > 0 {
			t.Errorf("a change of %s: %v", c.changed, diff)
		}
		for property := range diff.GetDetailedDiff() {
			if !strings.HasPrefix(property, c.changed) {
				t.Errorf("a change of %s shows as one of %s", c.changed, property)
			}
		}
	}
}

func TestALocalCommandFailsWithItsOutputAndIsStoppedWhenCancelled(t *testing.T) {
	args := LocalArgs{Script: Script{Create: ptr("echo said; exit 4")}}
	if _, err := args.run(context.Background(), args.Create, nil); err == nil || !strings.Contains(err.Error(), "said") {
		t.Errorf("the failure should show what the command said: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	args.Create = ptr("sleep 60")
	started := time.Now()
	if _, err := args.run(ctx, args.Create, nil); err == nil || time.Since(started) > 10*time.Second {
		t.Errorf("a cancelled local command ended after %s with %v", time.Since(started), err)
	}
}
