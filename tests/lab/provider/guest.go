package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// What containers and machines have in common.
type guestModel struct {
	ID             types.String     `tfsdk:"id"`
	NodeName       types.String     `tfsdk:"node_name"`
	VMID           types.Int64      `tfsdk:"vm_id"`
	Description    types.String     `tfsdk:"description"`
	Tags           types.List       `tfsdk:"tags"`
	Started        types.Bool       `tfsdk:"started"`
	Initialization []initialization `tfsdk:"initialization"`
	CPU            []cpu            `tfsdk:"cpu"`
	Memory         []memory         `tfsdk:"memory"`
}

type initialization struct {
	Hostname    types.String  `tfsdk:"hostname"`
	IPConfig    []ipConfig    `tfsdk:"ip_config"`
	UserAccount []userAccount `tfsdk:"user_account"`
}

type ipConfig struct {
	IPv4 []ipv4 `tfsdk:"ipv4"`
}

type ipv4 struct {
	Address types.String `tfsdk:"address"`
	Gateway types.String `tfsdk:"gateway"`
}

type userAccount struct {
	Keys     types.List   `tfsdk:"keys"`
	Password types.String `tfsdk:"password"`
}

type cpu struct {
	Cores types.Int64 `tfsdk:"cores"`
}

type memory struct {
	Dedicated types.Int64 `tfsdk:"dedicated"`
	Swap      types.Int64 `tfsdk:"swap"`
}

func optional() schema.Attribute    { return schema.StringAttribute{Optional: true} }
func optionalInt() schema.Attribute { return schema.Int64Attribute{Optional: true} }

// Replacing arguments: another value makes another guest.
func replacing(required bool) schema.Attribute {
	modifiers := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	return schema.StringAttribute{Required: required, Optional: !required, PlanModifiers: modifiers}
}

func replacingInt() schema.Attribute {
	return schema.Int64Attribute{Optional: true, PlanModifiers: []planmodifier.Int64{int64planmodifier.RequiresReplace()}}
}

func replacingBool() schema.Attribute {
	return schema.BoolAttribute{Optional: true, PlanModifiers: []planmodifier.Bool{boolplanmodifier.RequiresReplace()}}
}

func block(attributes map[string]schema.Attribute) schema.ListNestedBlock {
	return nested(attributes, nil)
}

func nested(attributes map[string]schema.Attribute, blocks map[string]schema.Block) schema.ListNestedBlock {
	return schema.ListNestedBlock{NestedObject: schema.NestedBlockObject{Attributes: attributes, Blocks: blocks}}
}

func computedID() schema.Attribute {
	return schema.StringAttribute{
		Computed:      true,
		PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
	}
}

// guestSchema is that of every guest, with what its kind adds.
func guestSchema(attributes map[string]schema.Attribute, blocks map[string]schema.Block) schema.Schema {
	all := schema.Schema{
		Attributes: map[string]schema.Attribute{
			"id":        computedID(),
			"node_name": replacing(true),
			"vm_id": schema.Int64Attribute{Optional: true, Computed: true, PlanModifiers: []planmodifier.Int64{
				int64planmodifier.UseStateForUnknown(), int64planmodifier.RequiresReplaceIfConfigured(),
			}},
			"description": optional(),
			"tags":        schema.ListAttribute{ElementType: types.StringType, Optional: true},
			"started":     schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(true)},
		},
		Blocks: map[string]schema.Block{
			"initialization": nested(map[string]schema.Attribute{"hostname": optional()}, map[string]schema.Block{
				"ip_config": nested(nil, map[string]schema.Block{
					"ipv4": block(map[string]schema.Attribute{"address": optional(), "gateway": optional()}),
				}),
				"user_account": block(map[string]schema.Attribute{
					"keys":     schema.ListAttribute{ElementType: types.StringType, Optional: true},
					"password": schema.StringAttribute{Optional: true, Sensitive: true},
				}),
			}),
			"cpu":    block(map[string]schema.Attribute{"cores": optionalInt()}),
			"memory": block(map[string]schema.Attribute{"dedicated": optionalInt(), "swap": optionalInt()}),
		},
	}
	for name, attribute := range attributes {
		all.Attributes[name] = attribute
	}
	for name, added := range blocks {
		all.Blocks[name] = added
	}
	return all
}

// settings are those that can be changed while the guest is there.
func (m *guestModel) settings(ctx context.Context) url.Values {
	settings := url.Values{}
	put(settings, "description", m.Description)
	if tags := texts(ctx, m.Tags); len(tags) > 0 {
		settings.Set("tags", strings.Join(tags, ";"))
	}
	for _, cpu := range m.CPU {
		put(settings, "cores", cpu.Cores)
	}
	for _, memory := range m.Memory {
		put(settings, "memory", memory.Dedicated)
	}
	return settings
}

// address is the first one, as a guest's `ipconfig` or `net` has it.
func (m *guestModel) address() string {
	for _, init := range m.Initialization {
		for _, config := range init.IPConfig {
			for _, ipv4 := range config.IPv4 {
				return properties(pair("ip", ipv4.Address), pair("gw", ipv4.Gateway))
			}
		}
	}
	return ""
}

func (m *guestModel) hostname() types.String {
	for _, init := range m.Initialization {
		return init.Hostname
	}
	return types.StringNull()
}

func (m *guestModel) sshKeys(ctx context.Context) string {
	var keys []string
	for _, init := range m.Initialization {
		for _, account := range init.UserAccount {
			keys = append(keys, texts(ctx, account.Keys)...)
		}
	}
	return strings.Join(keys, "\n")
}

// refresh brings the model in line with the node.
func (m *guestModel) refresh(ctx context.Context, there guest) error {
	config, err := there.config(ctx)
	if err != nil {
		return err
	}
	running, err := there.isRunning(ctx)
	if err != nil {
		return err
	}
	m.Started = types.BoolValue(running)
	for at := range m.CPU {
		m.CPU[at].Cores = setting(config, "cores", m.CPU[at].Cores)
	}
	for at := range m.Memory {
		m.Memory[at].Dedicated = setting(config, "memory", m.Memory[at].Dedicated)
	}
	return nil
}

// setting is one that the node has, in place of one that was set before.
func setting(config map[string]any, key string, before types.Int64) types.Int64 {
	var value int64
	if _, err := fmt.Sscan(fmt.Sprint(config[key]), &value); err != nil || before.IsNull() {
		return before
	}
	return types.Int64Value(value)
}

// put sets a parameter that was given; a node takes 1 for true.
func put(settings url.Values, key string, value attr.Value) {
	if text := plain(value); text != "" {
		settings.Set(key, text)
	}
}

func plain(value attr.Value) string {
	if value == nil || value.IsNull() || value.IsUnknown() {
		return ""
	}
	switch value := value.(type) {
	case types.String:
		return value.ValueString()
	case types.Bool:
		return map[bool]string{true: "1", false: "0"}[value.ValueBool()]
	}
	return value.String()
}

func pair(key string, value attr.Value) string {
	if text := plain(value); text != "" {
		return key + "=" + text
	}
	return ""
}

// properties joins what is not empty, as in `name=eth0,bridge=vmbr0`.
func properties(parts ...string) string {
	var there []string
	for _, part := range parts {
		if part != "" {
			there = append(there, part)
		}
	}
	return strings.Join(there, ",")
}

func texts(ctx context.Context, list types.List) []string {
	var found []string
	list.ElementsAs(ctx, &found, false)
	return found
}
