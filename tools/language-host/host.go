package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	sdk "github.com/pulumi/pulumi/sdk/v3"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// shownToUser is the exit code by which the executor says that it has already reported the error.
const shownToUser = 32

type languageHost struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	executor string          // path of pulumi-language-python-exec
	engine   string          // gRPC address, until Handshake gives another
	tracing  string          // address or empty
	stopping context.Context // done once the host has been told to end

	handshaken atomic.Pointer[string]
}

func (h *languageHost) engineAddress() string {
	if address := h.handshaken.Load(); address != nil {
		return *address
	}
	return h.engine
}

// until is ctx, but done as well when the host is told to end.
func (h *languageHost) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.stopping, cancel)
	return ctx, func() { stop(); cancel() }
}

func (h *languageHost) Handshake(
	_ context.Context, req *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	address := req.GetEngineAddress()
	h.handshaken.Store(&address)
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (h *languageHost) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version.Version}, nil
}

// GetRequiredPackages names the plugins that the environment's Python packages say they need.
func (h *languageHost) GetRequiredPackages(
	ctx context.Context, req *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	python, err := interpreter(req.GetInfo())
	if err != nil {
		return nil, err
	}
	// A fresh checkout has no environment yet; the official host makes it then.
	if err := python.EnsureVenv(ctx, req.GetInfo().GetProgramDirectory(), false, true, os.Stdout, os.Stderr); err != nil {
		return nil, err
	}
	if err := python.ValidateVenv(ctx); err != nil {
		return nil, err
	}
	folders, err := packageFolders(ctx, python)
	if err != nil {
		return nil, err
	}
	packages, err := requiredPackages(folders)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.GetRequiredPackagesResponse{Packages: packages}, nil
}

func (h *languageHost) GetProgramDependencies(
	ctx context.Context, req *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	python, err := interpreter(req.GetInfo())
	if err != nil {
		return nil, err
	}
	packages, err := python.ListPackages(ctx, req.GetTransitiveDependencies())
	if err != nil {
		return nil, err
	}
	response := &pulumirpc.GetProgramDependenciesResponse{}
	for _, p := range packages {
		response.Dependencies = append(response.Dependencies, &pulumirpc.DependencyInfo{Name: p.Name, Version: p.Version})
	}
	return response, nil
}

func (h *languageHost) About(ctx context.Context, req *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	python, err := interpreter(req.GetInfo())
	if err != nil {
		return nil, err
	}
	// Every preview and update asks. Starting pip to learn its version would take a quarter of a second each time.
	if folders, err := packageFolders(ctx, python); err == nil {
		if pip := pipVersion(folders); pip != "" {
			return aboutPip(ctx, python, pip)
		}
	}
	about, err := python.About(ctx)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.AboutResponse{
		Executable: about.PythonExecutable,
		Version:    about.PythonVersion.String(),
		Metadata:   map[string]string{"pip": about.ToolchainVersion.String()},
	}, nil
}

// aboutPip is what python.About says of an environment that has this version of pip.
func aboutPip(ctx context.Context, python toolchain.Toolchain, pip string) (*pulumirpc.AboutResponse, error) {
	cmd, err := python.Command(ctx, "--version")
	if err != nil {
		return nil, err
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("asking Python for its version: %w", err)
	}
	return &pulumirpc.AboutResponse{
		Executable: cmd.Path,
		Version:    strings.TrimPrefix(strings.TrimSpace(string(out)), "Python "),
		Metadata:   map[string]string{"pip": pip},
	}, nil
}

func (h *languageHost) RuntimeOptionsPrompts(
	context.Context, *pulumirpc.RuntimeOptionsRequest,
) (*pulumirpc.RuntimeOptionsResponse, error) {
	return &pulumirpc.RuntimeOptionsResponse{}, nil
}

func (h *languageHost) Template(context.Context, *pulumirpc.TemplateRequest) (*pulumirpc.TemplateResponse, error) {
	return &pulumirpc.TemplateResponse{}, nil
}

func (h *languageHost) InstallDependencies(
	req *pulumirpc.InstallDependenciesRequest, stream pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	closer, stdout, stderr, err := rpcutil.MakeInstallDependenciesStreams(stream, req.GetIsTerminal())
	if err != nil {
		return err
	}
	defer closer.Close()
	python, err := interpreter(req.GetInfo())
	if err != nil {
		return err
	}
	ctx, cancel := h.until(stream.Context())
	defer cancel()
	err = python.InstallDependencies(
		ctx, req.GetInfo().GetProgramDirectory(), req.GetUseLanguageVersionTools(), true, stdout, stderr)
	if err != nil {
		return err
	}
	return closer.Close()
}

// Run runs the program once and reports how it ended.
func (h *languageHost) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	if req.GetAttachDebugger() {
		return nil, status.Error(codes.Unimplemented, "attaching a debugger needs Pulumi's own release of the CLI")
	}
	python, err := interpreter(req.GetInfo())
	if err != nil {
		return nil, err
	}
	if err := python.ValidateVenv(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := h.until(ctx)
	defer cancel()
	cmd, err := python.Command(ctx, append([]string{"-u", h.executor}, programArguments(req, h.engineAddress(), h.tracing)...)...)
	if err != nil {
		return nil, err
	}
	config, err := programEnvironment(req)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(environment(cmd), config...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return runResponse(ctx, startChild(cmd, cmd.Wait)), nil
}

// runResponse says how a program ended in the engine's terms.
func runResponse(ctx context.Context, err error) *pulumirpc.RunResponse {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}
	case errors.As(err, &exit) && exit.ExitCode() == shownToUser:
		return &pulumirpc.RunResponse{Bail: true}
	case ctx.Err() != nil:
		return &pulumirpc.RunResponse{Error: "the program was stopped"}
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("Program exited with non-zero exit code: %d", exit.ExitCode())}
	default:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the Python program could not be run: %v", err)}
	}
}

// RunPlugin runs a policy pack.
func (h *languageHost) RunPlugin(req *pulumirpc.RunPluginRequest, stream pulumirpc.LanguageRuntime_RunPluginServer) error {
	if req.GetAttachDebugger() {
		return status.Error(codes.Unimplemented, "attaching a debugger needs Pulumi's own release of the CLI")
	}
	if req.GetKind() != "analyzer" {
		return status.Errorf(codes.Unimplemented, "a Python plugin of kind %q needs Pulumi's own release of the CLI", req.GetKind())
	}
	closer, stdout, stderr, err := rpcutil.MakeRunPluginStreams(stream, false)
	if err != nil {
		return err
	}
	defer closer.Close()
	python, err := interpreter(req.GetInfo())
	if err != nil {
		return err
	}
	ctx, cancel := h.until(stream.Context())
	defer cancel()
	if err := python.ValidateVenv(ctx); err != nil {
		return err
	}

	// A pack reads its stack from the environment at its start, while the engine tells the stack by a call: the proxy serves that call,
	// then the pack is started and the proxy hands it everything else.
	proxy, packStdout, err := sdk.NewPolicyProxy(ctx, stdout)
	if err != nil {
		return err
	}
	stack, err := proxy.AwaitConfiguration(ctx)
	if err != nil {
		return err
	}
	stackEnvironment, err := policyEnvironment(stack)
	if err != nil {
		return err
	}
	program := filepath.Join(req.GetInfo().GetProgramDirectory(), req.GetInfo().GetEntryPoint())
	cmd, err := python.Command(ctx, "-u", "-m", "pulumi.policy", h.engineAddress(), program)
	if err != nil {
		return err
	}
	cmd.Dir = req.GetPwd()
	cmd.Env = append(append(environment(cmd), req.GetEnv()...), stackEnvironment...)
	cmd.Stdout, cmd.Stderr = packStdout, stderr
	return pluginEnded(stream, startChild(cmd, func() error { return proxy.Attach(ctx, cmd) }))
}

// pluginEnded sends the exit code of a plugin.
func pluginEnded(stream pulumirpc.LanguageRuntime_RunPluginServer, err error) error {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	code := int32(0)
	if exit != nil {
		code = int32(exit.ExitCode()) //nolint:gosec // an exit code fits
	}
	return stream.Send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Exitcode{Exitcode: code}})
}

// interpreter finds the Python that the project's options name: `toolchain` pip (also when absent), uv or poetry, `virtualenv` a path.
func interpreter(info *pulumirpc.ProgramInfo) (toolchain.Toolchain, error) {
	options := toolchain.PythonOptions{Root: info.GetRootDirectory(), ProgramDir: info.GetProgramDirectory(), Toolchain: toolchain.Pip}
	for name, value := range info.GetOptions().AsMap() {
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("the runtime option %q in Pulumi.yaml must be text", name)
		}
		switch name {
		case "virtualenv":
			options.Virtualenv = text
		case "toolchain":
			switch strings.ToLower(text) {
			case "pip":
			case "uv":
				options.Toolchain = toolchain.Uv
			case "poetry":
				options.Toolchain = toolchain.Poetry
			default:
				return nil, fmt.Errorf("the runtime option toolchain in Pulumi.yaml is %q; it may be pip, uv or poetry", text)
			}
		case "typechecker":
			if text != "none" && text != "" {
				return nil, fmt.Errorf("the runtime option typechecker %q needs Pulumi's own release of the CLI", text)
			}
		}
	}
	return toolchain.ResolveToolchain(options)
}

func environment(cmd *exec.Cmd) []string {
	if cmd.Env != nil {
		return cmd.Env
	}
	return os.Environ()
}
