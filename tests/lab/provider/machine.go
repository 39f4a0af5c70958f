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

type machine struct{ onNode }

type machineModel struct {
	guestModel
	Name          types.String    `tfsdk:"name"`
	OnBoot        types.Bool      `tfsdk:"on_boot"`
	Clone         []clone         `tfsdk:"clone"`
	Agent         []agent         `tfsdk:"agent"`
	Disk          []machineDisk   `tfsdk:"disk"`
	NetworkDevice []networkDevice `tfsdk:"network_device"`
}

type clone struct {
	VMID types.Int64 `tfsdk:"vm_id"`
	Full types.Bool  `tfsdk:"full"`
}

type agent struct {
	Enabled types.Bool `tfsdk:"enabled"`
}

type machineDisk struct {
	DatastoreID types.String `tfsdk:"datastore_id"`
	Interface   types.String `tfsdk:"interface"`
	Size        types.Int64  `tfsdk:"size"`
}

type networkDevice struct {
	Bridge   types.String `tfsdk:"bridge"`
	Firewall types.Bool   `tfsdk:"firewall"`
}

func (*machine) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "proxmox_virtual_environment_vm"
}

func (*machine) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	type attributes = map[string]schema.Attribute
	answer.Schema = guestSchema(
		attributes{"name": optional(), "on_boot": schema.BoolAttribute{Optional: true}},
		map[string]schema.Block{
			"clone": block(attributes{"vm_id": replacingInt(), "full": replacingBool()}),
			"agent": block(attributes{"enabled": schema.BoolAttribute{Optional: true}}),
			"disk": block(attributes{
				"datastore_id": replacing(false), "interface": replacing(true), "size": replacingInt(),
			}),
			"network_device": block(attributes{
				"bridge": optional(), "firewall": schema.BoolAttribute{Optional: true},
			}),
		},
	)
}

func (r *machine) guest(m *machineModel) guest {
	return guest{node: r.node, on: m.NodeName.ValueString(), kind: "qemu", id: m.VMID.ValueInt64()}
}

// all settings of the machine; a new one has them on top of what its template has.
func (m *machineModel) all(ctx context.Context) url.Values {
	all := m.settings(ctx)
	put(all, "name", m.Name)
	put(all, "onboot", m.OnBoot)
	for _, agent := range m.Agent {
		put(all, "agent", agent.Enabled)
	}
	return all
}

// hardware is what only a new machine is given. The template has the first disk.
func (m *machineModel) hardware(ctx context.Context) url.Values {
	all := m.all(ctx)
	if address := m.address(); address != "" {
		all.Set("ipconfig0", address)
	}
	if keys := m.sshKeys(ctx); keys != "" {
		all.Set("sshkeys", url.PathEscape(keys))
	}
	for at, card := range m.NetworkDevice {
		all.Set(fmt.Sprintf("net%d", at), properties("virtio", pair("bridge", card.Bridge), pair("firewall", card.Firewall)))
	}
	for at, disk := range m.Disk {
		if at > 0 {
			all.Set(plain(disk.Interface), plain(disk.DatastoreID)+":"+plain(disk.Size))
		}
	}
	return all
}

func (r *machine) Create(ctx context.Context, ask resource.CreateRequest, answer *resource.CreateResponse) {
	var m machineModel
	answer.Diagnostics.Append(ask.Plan.Get(ctx, &m)...)
	if answer.Diagnostics.HasError() {
		return
	}
	if len(m.Clone) == 0 {
		answer.Diagnostics.AddError("No template", "The lab makes machines from templates only.")
		return
	}
	template := guest{node: r.node, on: m.NodeName.ValueString(), kind: "qemu", id: m.Clone[0].VMID.ValueInt64()}
	err := r.number(ctx, &m.VMID, func() error {
		order := url.Values{"full": {"1"}}
		put(order, "newid", m.VMID)
		put(order, "name", m.Name)
		return r.do(ctx, template.on, http.MethodPost, template.path("clone"), order)
	})
	there := r.guest(&m)
	if complain(&answer.Diagnostics, "The VM was not cloned", err) {
		return
	}
	// From here on it is there, whatever happens next.
	m.ID = types.StringValue(fmt.Sprint(there.id))
	answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	if !complain(&answer.Diagnostics, "The VM was not set up", there.set(ctx, m.hardware(ctx))) {
		complain(&answer.Diagnostics, "The VM did not start", there.power(ctx, m.Started.ValueBool()))
	}
}

func (r *machine) Read(ctx context.Context, ask resource.ReadRequest, answer *resource.ReadResponse) {
	var m machineModel
	answer.Diagnostics.Append(ask.State.Get(ctx, &m)...)
	err := m.refresh(ctx, r.guest(&m))
	if errors.Is(err, errGone) {
		answer.State.RemoveResource(ctx)
		return
	}
	if !complain(&answer.Diagnostics, "The VM cannot be looked at", err) {
		answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	}
}

func (r *machine) Update(ctx context.Context, ask resource.UpdateRequest, answer *resource.UpdateResponse) {
	var m machineModel
	answer.Diagnostics.Append(ask.Plan.Get(ctx, &m)...)
	there := r.guest(&m)
	err := errors.Join(there.set(ctx, m.all(ctx)), there.power(ctx, m.Started.ValueBool()))
	if !complain(&answer.Diagnostics, "The VM was not changed", err) {
		answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	}
}

func (r *machine) Delete(ctx context.Context, ask resource.DeleteRequest, answer *resource.DeleteResponse) {
	var m machineModel
	answer.Diagnostics.Append(ask.State.Get(ctx, &m)...)
	complain(&answer.Diagnostics, "The VM was not destroyed", r.guest(&m).destroy(ctx))
}
