// pulumi-resource-command: a small provider with the tokens, inputs and outputs of the PyPI package `pulumi-command`
// 1.2.1 for local.Command, remote.Command and remote.CopyToRemote. Written from that package's documentation; it is
// not Pulumi's own provider, whose Go module no registry serves.
package main

import (
	"context"
	"fmt"
	"os"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
)

var version = "0.0.0"

func main() {
	prov, err := infer.NewProviderBuilder().
		WithDescription("Runs commands locally or over SSH as part of the resource model (small stand-in).").
		WithResources(infer.Resource(Local{}), infer.Resource(Remote{}), infer.Resource(Copy{})).
		Build()
	if err == nil {
		err = p.RunProvider(context.Background(), "command", version, prov)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
