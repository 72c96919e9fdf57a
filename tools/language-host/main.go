// pulumi-language-python runs Pulumi programs and policy packs written in Python for the Pulumi engine.
//
// It is the language host of this project's own build of the CLI, where Pulumi's release of it cannot be had, and speaks the published
// protocol (LanguageRuntime in the SDK's proto package). It does what this project asks of it and refuses the rest in a sentence.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/logging"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// drainTime is how long a cancelled host waits for its programs to end; after it the engine would wait for nothing.
const drainTime = 5 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-language-python:", err)
		os.Exit(1)
	}
}

func run() error {
	tracing := flag.String("tracing", "", "address of a tracing endpoint, handed on to the program")
	flag.String("root", "", "ignored: every request names its own directory")
	flag.Parse()
	logging.InitLogging(false, 0, false)

	self, err := os.Executable()
	if err != nil {
		return err
	}
	executor := filepath.Join(filepath.Dir(self), "pulumi-language-python-exec")
	if _, err := os.Stat(executor); err != nil {
		return fmt.Errorf("the program that starts Python programs is missing beside this one: %w", err)
	}

	// The terminal sends Ctrl-C to the whole process group. The engine asks for the end of the program by closing its call; a host
	// that does not end by itself makes the CLI wait ten seconds for it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cancel := make(chan bool)
	context.AfterFunc(ctx, func() { close(cancel) })

	host := &languageHost{executor: executor, engine: flag.Arg(0), tracing: *tracing, stopping: ctx}
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel:  cancel,
		Options: rpcutil.TracingServerInterceptorOptions(nil),
		Init: func(server *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(server, host)
			return nil
		},
	})
	if err != nil {
		return err
	}
	fmt.Println(handle.Port) // the engine reads it
	select {
	case err = <-handle.Done:
		return err
	case <-ctx.Done():
	}
	select {
	case err = <-handle.Done:
		return err
	case <-time.After(drainTime):
		return nil
	}
}
