// A small Terraform provider for the lab. It goes by the address of bpg/proxmox, has the few resources and arguments
// that the lab's project uses, and speaks to a node by its API, as the real one does.
package main

import (
	"context"
	"log"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
)

func main() {
	options := providerserver.ServeOpts{Address: "registry.terraform.io/bpg/proxmox"}
	if err := providerserver.Serve(context.Background(), newProvider, options); err != nil {
		log.Fatal(err)
	}
}
