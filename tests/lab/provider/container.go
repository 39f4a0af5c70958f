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

type container struct{ onNode }

type containerModel struct {
	guestModel
	Unprivileged     types.Bool         `tfsdk:"unprivileged"`
	StartOnBoot      types.Bool         `tfsdk:"start_on_boot"`
	Disk             []rootDisk         `tfsdk:"disk"`
	MountPoint       []mountPoint       `tfsdk:"mount_point"`
	NetworkInterface []networkInterface `tfsdk:"network_interface"`
	OperatingSystem  []operatingSystem  `tfsdk:"operating_system"`
	Features         []features         `tfsdk:"features"`
}

type rootDisk struct {
	DatastoreID types.String `tfsdk:"datastore_id"`
	Size        types.Int64  `tfsdk:"size"`
}

type mountPoint struct {
	Volume types.String `tfsdk:"volume"`
	Size   types.String `tfsdk:"size"`
	Path   types.String `tfsdk:"path"`
	Backup types.Bool   `tfsdk:"backup"`
}

type networkInterface struct {
	Name     types.String `tfsdk:"name"`
	Bridge   types.String `tfsdk:"bridge"`
	Firewall types.Bool   `tfsdk:"firewall"`
}

type operatingSystem struct {
	TemplateFileID types.String `tfsdk:"template_file_id"`
	Type           types.String `tfsdk:"type"`
}

type features struct {
	Nesting types.Bool `tfsdk:"nesting"`
}

func (*container) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "proxmox_virtual_environment_container"
}

func (*container) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	type attributes = map[string]schema.Attribute
	answer.Schema = guestSchema(
		attributes{
			"unprivileged":  replacingBool(),
			"start_on_boot": schema.BoolAttribute{Optional: true},
		},
		map[string]schema.Block{
			"disk": block(attributes{"datastore_id": replacing(false), "size": replacingInt()}),
			"mount_point": block(attributes{
				"volume": replacing(true), "size": replacing(false), "path": replacing(true),
				"backup": schema.BoolAttribute{Optional: true},
			}),
			"network_interface": block(attributes{
				"name": replacing(true), "bridge": optional(), "firewall": schema.BoolAttribute{Optional: true},
			}),
			"operating_system": block(attributes{"template_file_id": replacing(true), "type": optional()}),
			"features":         block(attributes{"nesting": schema.BoolAttribute{Optional: true}}),
		},
	)
}

func (r *container) guest(m *containerModel) guest {
	return guest{node: r.node, on: m.NodeName.ValueString(), kind: "lxc", id: m.VMID.ValueInt64()}
}

// parameters are those of a new container.
func (m *containerModel) parameters(ctx context.Context) url.Values {
	all := m.settings(ctx)
	put(all, "vmid", m.VMID)
	put(all, "hostname", m.hostname())
	put(all, "unprivileged", m.Unprivileged)
	put(all, "onboot", m.StartOnBoot)
	if keys := m.sshKeys(ctx); keys != "" {
		all.Set("ssh-public-keys", keys)
	}
	for _, memory := range m.Memory {
		put(all, "swap", memory.Swap)
	}
	for _, system := range m.OperatingSystem {
		put(all, "ostemplate", system.TemplateFileID)
		put(all, "ostype", system.Type)
	}
	for _, disk := range m.Disk {
		all.Set("rootfs", plain(disk.DatastoreID)+":"+plain(disk.Size))
	}
	for at, mount := range m.MountPoint {
		var gib int64
		fmt.Sscanf(plain(mount.Size), "%dG", &gib)
		volume := fmt.Sprintf("%s:%d", plain(mount.Volume), gib)
		all.Set(fmt.Sprintf("mp%d", at), properties(volume, pair("mp", mount.Path), pair("backup", mount.Backup)))
	}
	for at, card := range m.NetworkInterface {
		parts := []string{pair("name", card.Name), pair("bridge", card.Bridge), pair("firewall", card.Firewall)}
		if at == 0 {
			parts = append(parts, m.address())
		}
		all.Set(fmt.Sprintf("net%d", at), properties(parts...))
	}
	for _, features := range m.Features {
		all.Set("features", pair("nesting", features.Nesting))
	}
	return all
}

func (r *container) Create(ctx context.Context, ask resource.CreateRequest, answer *resource.CreateResponse) {
	var m containerModel
	answer.Diagnostics.Append(ask.Plan.Get(ctx, &m)...)
	if answer.Diagnostics.HasError() {
		return
	}
	err := r.number(ctx, &m.VMID, func() error {
		on := m.NodeName.ValueString()
		return r.do(ctx, on, http.MethodPost, "nodes/"+on+"/lxc", m.parameters(ctx))
	})
	there := r.guest(&m)
	if complain(&answer.Diagnostics, "The container was not created", err) {
		return
	}
	// From here on it is there, whatever happens next.
	m.ID = types.StringValue(fmt.Sprint(there.id))
	answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	complain(&answer.Diagnostics, "The container did not start", there.power(ctx, m.Started.ValueBool()))
}

func (r *container) Read(ctx context.Context, ask resource.ReadRequest, answer *resource.ReadResponse) {
	var m containerModel
	answer.Diagnostics.Append(ask.State.Get(ctx, &m)...)
	err := m.refresh(ctx, r.guest(&m))
	if errors.Is(err, errGone) {
		answer.State.RemoveResource(ctx)
		return
	}
	if !complain(&answer.Diagnostics, "The container cannot be looked at", err) {
		answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	}
}

func (r *container) Update(ctx context.Context, ask resource.UpdateRequest, answer *resource.UpdateResponse) {
	var m containerModel
	answer.Diagnostics.Append(ask.Plan.Get(ctx, &m)...)
	there := r.guest(&m)
	err := errors.Join(there.set(ctx, m.settings(ctx)), there.power(ctx, m.Started.ValueBool()))
	if !complain(&answer.Diagnostics, "The container was not changed", err) {
		answer.Diagnostics.Append(answer.State.Set(ctx, &m)...)
	}
}

func (r *container) Delete(ctx context.Context, ask resource.DeleteRequest, answer *resource.DeleteResponse) {
	var m containerModel
	answer.Diagnostics.Append(ask.State.Get(ctx, &m)...)
	complain(&answer.Diagnostics, "The container was not destroyed", r.guest(&m).destroy(ctx))
}
