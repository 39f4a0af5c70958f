package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// Whose firewall it is: that of a container or of a machine.
type protected struct {
	ID          types.String `tfsdk:"id"`
	NodeName    types.String `tfsdk:"node_name"`
	ContainerID types.Int64  `tfsdk:"container_id"`
	VMID        types.Int64  `tfsdk:"vm_id"`
}

func protectedSchema() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"id":           computedID(),
		"node_name":    replacing(true),
		"container_id": replacingInt(),
		"vm_id":        replacingInt(),
	}
}

func (p *protected) guest(on *node) guest {
	there := guest{node: on, on: p.NodeName.ValueString(), kind: "lxc", id: p.ContainerID.ValueInt64()}
	if p.ContainerID.IsNull() {
		there.kind, there.id = "qemu", p.VMID.ValueInt64()
	}
	return there
}

func (g guest) name() types.String {
	return types.StringValue(fmt.Sprintf("%s/%s/%d", g.on, g.kind, g.id))
}

type firewallOptions struct{ onNode }

type optionsModel struct {
	protected
	Enabled     types.Bool   `tfsdk:"enabled"`
	InputPolicy types.String `tfsdk:"input_policy"`
}

func (*firewallOptions) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "proxmox_virtual_environment_firewall_options"
}

func (*firewallOptions) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	attributes := protectedSchema()
	attributes["enabled"] = schema.BoolAttribute{Optional: true}
	attributes["input_policy"] = optional()
	answer.Schema = schema.Schema{Attributes: attributes}
}

func (r *firewallOptions) write(ctx context.Context, m *optionsModel) error {
	settings := url.Values{}
	put(settings, "enable", m.Enabled)
	put(settings, "policy_in", m.InputPolicy)
	there := m.guest(r.node)
	m.ID = there.name()
	return there.call(ctx, http.MethodPut, there.path("firewall/options"), settings, nil)
}

func (r *firewallOptions) Create(ctx context.Context, ask resource.CreateRequest, answer *resource.CreateResponse) {
	var m optionsModel
	answer.Diagnostics.Append(ask.Plan.Get(ctx, &m)...)
	if !complain(&answer.Diagnostics, "The firewall was not set up", r.write(ctx, &m)) {
		answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	}
}

func (r *firewallOptions) Read(ctx context.Context, ask resource.ReadRequest, answer *resource.ReadResponse) {
	var m optionsModel
	answer.Diagnostics.Append(ask.State.Get(ctx, &m)...)
	there, options := m.guest(r.node), struct {
		Enable   int    `json:"enable"`
		PolicyIn string `json:"policy_in"`
	}{}
	err := there.call(ctx, http.MethodGet, there.path("firewall/options"), nil, &options)
	if errors.Is(err, errGone) {
		answer.State.RemoveResource(ctx)
		return
	}
	if complain(&answer.Diagnostics, "The firewall cannot be looked at", err) {
		return
	}
	m.Enabled = types.BoolValue(options.Enable == 1)
	if !m.InputPolicy.IsNull() {
		m.InputPolicy = types.StringValue(options.PolicyIn)
	}
	answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
}

func (r *firewallOptions) Update(ctx context.Context, ask resource.UpdateRequest, answer *resource.UpdateResponse) {
	var m optionsModel
	answer.Diagnostics.Append(ask.Plan.Get(ctx, &m)...)
	if !complain(&answer.Diagnostics, "The firewall was not changed", r.write(ctx, &m)) {
		answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	}
}

func (r *firewallOptions) Delete(ctx context.Context, ask resource.DeleteRequest, answer *resource.DeleteResponse) {
	var m optionsModel
	answer.Diagnostics.Append(ask.State.Get(ctx, &m)...)
	there := m.guest(r.node)
	err := there.call(ctx, http.MethodPut, there.path("firewall/options"), url.Values{"delete": {"enable,policy_in"}}, nil)
	if !errors.Is(err, errGone) {
		complain(&answer.Diagnostics, "The firewall was not reset", err)
	}
}

type firewallRules struct{ onNode }

type rulesModel struct {
	protected
	Rule []rule `tfsdk:"rule"`
}

type rule struct {
	Type    types.String `tfsdk:"type"`
	Action  types.String `tfsdk:"action"`
	Comment types.String `tfsdk:"comment"`
	Dport   types.String `tfsdk:"dport"`
	Proto   types.String `tfsdk:"proto"`
	Source  types.String `tfsdk:"source"`
}

func (*firewallRules) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "proxmox_virtual_environment_firewall_rules"
}

func (*firewallRules) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	text := map[string]schema.Attribute{}
	for _, name := range []string{"type", "action", "comment", "dport", "proto", "source"} {
		text[name] = optional()
	}
	blocks := map[string]schema.Block{"rule": block(text)}
	answer.Schema = schema.Schema{Attributes: protectedSchema(), Blocks: blocks}
}

// A rule as the node has it.
type ruleOnNode struct {
	Pos                                         int
	Type, Action, Comment, Dport, Proto, Source string
}

func (r *firewallRules) there(ctx context.Context, of guest) ([]ruleOnNode, error) {
	var rules []ruleOnNode
	err := of.call(ctx, http.MethodGet, of.path("firewall/rules"), nil, &rules)
	return rules, err
}

// clear removes every rule, the last one first: the others keep their places.
func (r *firewallRules) clear(ctx context.Context, of guest) error {
	rules, err := r.there(ctx, of)
	for at := len(rules) - 1; at >= 0 && err == nil; at-- {
		err = of.call(ctx, http.MethodDelete, of.path(fmt.Sprintf("firewall/rules/%d", at)), nil, nil)
	}
	return err
}

// write puts these rules in place of those that are there. A node puts each new one on top.
func (r *firewallRules) write(ctx context.Context, m *rulesModel) error {
	there := m.guest(r.node)
	m.ID = there.name()
	if err := r.clear(ctx, there); err != nil {
		return err
	}
	for at := len(m.Rule) - 1; at >= 0; at-- {
		rule, order := m.Rule[at], url.Values{"enable": {"1"}}
		put(order, "type", rule.Type)
		put(order, "action", rule.Action)
		put(order, "comment", rule.Comment)
		put(order, "dport", rule.Dport)
		put(order, "proto", rule.Proto)
		put(order, "source", rule.Source)
		if err := there.call(ctx, http.MethodPost, there.path("firewall/rules"), order, nil); err != nil {
			return err
		}
	}
	return nil
}

func (r *firewallRules) Create(ctx context.Context, ask resource.CreateRequest, answer *resource.CreateResponse) {
	var m rulesModel
	answer.Diagnostics.Append(ask.Plan.Get(ctx, &m)...)
	if !complain(&answer.Diagnostics, "The rules were not made", r.write(ctx, &m)) {
		answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	}
}

func (r *firewallRules) Read(ctx context.Context, ask resource.ReadRequest, answer *resource.ReadResponse) {
	var m rulesModel
	answer.Diagnostics.Append(ask.State.Get(ctx, &m)...)
	rules, err := r.there(ctx, m.guest(r.node))
	if errors.Is(err, errGone) || (err == nil && len(rules) == 0) {
		answer.State.RemoveResource(ctx)
		return
	}
	if complain(&answer.Diagnostics, "The rules cannot be looked at", err) {
		return
	}
	m.Rule = nil
	for _, there := range rules {
		m.Rule = append(m.Rule, rule{
			Type: text(there.Type), Action: text(there.Action), Comment: text(there.Comment),
			Dport: text(there.Dport), Proto: text(there.Proto), Source: text(there.Source),
		})
	}
	answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
}

func (r *firewallRules) Update(ctx context.Context, ask resource.UpdateRequest, answer *resource.UpdateResponse) {
	var m rulesModel
	answer.Diagnostics.Append(ask.Plan.Get(ctx, &m)...)
	if !complain(&answer.Diagnostics, "The rules were not changed", r.write(ctx, &m)) {
		answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	}
}

func (r *firewallRules) Delete(ctx context.Context, ask resource.DeleteRequest, answer *resource.DeleteResponse) {
	var m rulesModel
	answer.Diagnostics.Append(ask.State.Get(ctx, &m)...)
	if err := r.clear(ctx, m.guest(r.node)); !errors.Is(err, errGone) {
		complain(&answer.Diagnostics, "The rules were not removed", err)
	}
}

func text(value string) types.String {
	if value == "" {
		return types.StringNull()
	}
	return types.StringValue(value)
}
