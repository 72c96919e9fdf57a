// pulumi-resource-aws: HashiCorp's Terraform AWS provider (trimmed to some services, see trim.py) behind Pulumi's Terraform bridge, with the
// tokens and property names of the pulumi_aws package. tokens.txt lists what is mapped; the rest is dropped at start.
package main

import (
	"context"
	_ "embed"
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	fwprovider "github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-provider-aws/xpprovider"
	pf "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/x/muxer"
	"github.com/pulumi/pulumi-terraform-bridge/v3/unstable/metadata"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

//go:embed tokens.txt
var table string

// version is pulumi_aws's; the build sets it to the one in requirements.in, under which the plugin is installed.
var version = "0.0.0"

// filtered is the Plugin Framework provider less the resources and data sources that the table does not name.
type filtered struct {
	fwprovider.ProviderWithMetaSchema // without its MetaSchema every plan of such a resource panics
	info                              *tfbridge.ProviderInfo
}

func (f filtered) Resources(ctx context.Context) (out []func() resource.Resource) {
	for _, mk := range f.ProviderWithMetaSchema.Resources(ctx) {
		var m resource.MetadataResponse
		mk().Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "aws"}, &m)
		if f.info.Resources[m.TypeName] != nil {
			out = append(out, mk)
		}
	}
	return
}

func (f filtered) DataSources(ctx context.Context) (out []func() datasource.DataSource) {
	for _, mk := range f.ProviderWithMetaSchema.DataSources(ctx) {
		var m datasource.MetadataResponse
		mk().Metadata(ctx, datasource.MetadataRequest{ProviderTypeName: "aws"}, &m)
		if f.info.DataSources[m.TypeName] != nil {
			out = append(out, mk)
		}
	}
	return
}

// mapTokens fills info.Resources and info.DataSources from the table.
func mapTokens(info *tfbridge.ProviderInfo) {
	info.Resources, info.DataSources = map[string]*tfbridge.ResourceInfo{}, map[string]*tfbridge.DataSourceInfo{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] == "#" {
			continue
		}
		for _, e := range f[2:] {
			tf, name, named := strings.Cut(e, "=")
			if f[0] == "field" {
				info.Resources["aws_"+f[1]].Fields[tf] = field(name)
				continue
			}
			if !named {
				for w := range strings.SplitSeq(tf, "_") {
					name += strings.ToUpper(w[:1]) + w[1:]
				}
				if f[0] == "data" {
					name = "get" + name
				}
			}
			tok := "aws:" + f[1] + "/" + strings.ToLower(name[:1]) + name[1:] + ":" + name
			if f[0] == "data" {
				info.DataSources["aws_"+tf] = &tfbridge.DataSourceInfo{Tok: tokens.ModuleMember(tok)}
			} else {
				info.Resources["aws_"+tf] = &tfbridge.ResourceInfo{Tok: tokens.Type(tok), Fields: map[string]*tfbridge.SchemaInfo{}}
			}
		}
	}
}

func field(spec string) *tfbridge.SchemaInfo {
	if name, n, ok := strings.Cut(spec, "~"); ok {
		return tfbridge.AutoName(name, must(strconv.Atoi(n)), "-")
	}
	if name, ok := strings.CutSuffix(spec, "*"); ok {
		return &tfbridge.SchemaInfo{Name: name, MaxItemsOne: new(bool)}
	}
	name, typ, _ := strings.Cut(spec, "#")
	return &tfbridge.SchemaInfo{Name: name, Type: tokens.Type(typ)}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func providerInfo(ctx context.Context) tfbridge.ProviderInfo {
	fw, sdk, err := xpprovider.GetProvider(ctx)
	must(0, err)
	info := tfbridge.ProviderInfo{Name: "aws", Version: version, MetadataInfo: tfbridge.NewProviderMetadata([]byte("{}"))}
	mapTokens(&info)
	for k := range sdk.ResourcesMap {
		if info.Resources[k] == nil {
			delete(sdk.ResourcesMap, k)
		}
	}
	for k := range sdk.DataSourcesMap {
		if info.DataSources[k] == nil {
			delete(sdk.DataSourcesMap, k)
		}
	}
	info.P = pf.MuxShimWithPF(ctx, shimv2.NewProvider(sdk), filtered{fw.(fwprovider.ProviderWithMetaSchema), &info})
	info.Config = map[string]*tfbridge.SchemaInfo{
		"skip_metadata_api_check": {Type: "boolean"},
		"region":                  {Default: &tfbridge.DefaultInfo{EnvVars: []string{"AWS_REGION", "AWS_DEFAULT_REGION"}}},
	}
	info.SetAutonaming(255, "-")
	mux := info.P.(interface {
		ResolveDispatch(*tfbridge.ProviderInfo) (muxer.DispatchTable, error)
	})
	must(0, metadata.Set(info.GetMetadata(), "mux", must(mux.ResolveDispatch(&info))))
	return info
}

func main() {
	ctx := context.Background()
	pf.MainWithMuxer(ctx, "aws", providerInfo(ctx), []byte("{}"))
}
