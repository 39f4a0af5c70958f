package main

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type proxmoxProvider struct{}

type providerModel struct {
	Endpoint types.String `tfsdk:"endpoint"`
	APIToken types.String `tfsdk:"api_token"`
	Insecure types.Bool   `tfsdk:"insecure"`
}

func newProvider() provider.Provider { return proxmoxProvider{} }

func (proxmoxProvider) Metadata(_ context.Context, _ provider.MetadataRequest, answer *provider.MetadataResponse) {
	answer.TypeName = "proxmox"
}

func (proxmoxProvider) Schema(_ context.Context, _ provider.SchemaRequest, answer *provider.SchemaResponse) {
	answer.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"endpoint":  schema.StringAttribute{Optional: true},
		"api_token": schema.StringAttribute{Optional: true, Sensitive: true},
		"insecure":  schema.BoolAttribute{Optional: true},
	}}
}

func (proxmoxProvider) Configure(ctx context.Context, ask provider.ConfigureRequest, answer *provider.ConfigureResponse) {
	var config providerModel
	answer.Diagnostics.Append(ask.Config.Get(ctx, &config)...)
	answer.ResourceData = newNode(config.Endpoint.ValueString(), config.APIToken.ValueString(), config.Insecure.ValueBool())
}

func (proxmoxProvider) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (proxmoxProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return &container{} },
		func() resource.Resource { return &machine{} },
		func() resource.Resource { return &firewallOptions{} },
		func() resource.Resource { return &firewallRules{} },
	}
}

// What every resource here has: the node's API.
type onNode struct{ *node }

func (r *onNode) Configure(_ context.Context, ask resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	if there, ok := ask.ProviderData.(*node); ok {
		r.node = there
	}
}

// complain adds an error, if there is one, and says whether there was.
func complain(to *diag.Diagnostics, doing string, err error) bool {
	if err != nil {
		to.AddError(doing, err.Error())
	}
	return err != nil
}
