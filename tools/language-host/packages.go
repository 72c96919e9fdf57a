package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
)

// packageFolders are the folders that hold an environment's Python packages.
func packageFolders(ctx context.Context, python toolchain.Toolchain) ([]string, error) {
	virtualenv, err := python.VirtualEnvPath(ctx)
	if err == nil && virtualenv != "" {
		// Looking is much faster than starting Python to ask.
		if folders, _ := filepath.Glob(filepath.Join(virtualenv, "lib", "python3*", "site-packages")); len(folders) > 0 {
			return folders, nil
		}
	}
	cmd, err := python.Command(ctx, "-c", "import sys; print('\\n'.join(sys.path))")
	if err != nil {
		return nil, err
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("asking Python for its package folders: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// pipVersion is the version of pip in the first folder that has it, or empty.
func pipVersion(folders []string) string {
	for _, folder := range folders {
		if found, _ := filepath.Glob(filepath.Join(folder, "pip-*.dist-info")); len(found) == 1 {
			return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), "pip-"), ".dist-info")
		}
	}
	return ""
}

// pluginFile is the part of a package's pulumi-plugin.json that this host understands.
type pluginFile struct {
	Resource         bool            `json:"resource"`
	Name             string          `json:"name"`
	Version          string          `json:"version"`
	Server           string          `json:"server"`
	Parameterization json.RawMessage `json:"parameterization"`
}

// requiredPackages reads the pulumi-plugin.json of every package in the folders.
func requiredPackages(folders []string) ([]*pulumirpc.PackageDependency, error) {
	var packages []*pulumirpc.PackageDependency
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*", "pulumi-plugin.json"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return nil, err
			}
			var plugin pluginFile
			if err := json.Unmarshal(content, &plugin); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if !plugin.Resource {
				continue // the SDK's own, and policy packs' framework
			}
			if plugin.Parameterization != nil {
				return nil, fmt.Errorf("%s: a parameterized package needs Pulumi's own release of the CLI", file)
			}
			name := plugin.Name
			if name == "" {
				name = strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "pulumi_")
			}
			packages = append(packages, &pulumirpc.PackageDependency{
				Name: name, Kind: "resource", Version: plugin.Version, Server: plugin.Server,
			})
		}
	}
	return packages, nil
}
