// pulumi-resource-command: a provider with the tokens, inputs, outputs and behaviour of Pulumi's own version 1.2.1, for local.Command,
// remote.Command and remote.CopyToRemote. Written from that provider's documentation and from how it behaves; it stands in where
// Pulumi's own cannot be had. docs/decisions/tool-chain.md lists what differs.
package main

import (
	"context"
	"fmt"
	"os"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
)

// version is the one that it is installed as; the build sets it to that of the package pulumi-command in requirements.in.
var version = "0.0.0"

func build() (p.Provider, error) {
	return infer.NewProviderBuilder().
		WithDescription("Runs commands locally or over SSH as part of the resource model.").
		WithResources(infer.Resource(Local{}), infer.Resource(Remote{}), infer.Resource(Copy{})).
		Build()
}

func main() {
	provider, err := build()
	if err == nil {
		err = p.RunProvider(context.Background(), "command", version, provider)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
