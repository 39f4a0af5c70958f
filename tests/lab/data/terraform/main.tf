# Stands for what Terraform makes on a node. The provider is built in: nothing is downloaded.

resource "terraform_data" "vm" {
  for_each = var.vms
  input    = merge(each.value, { name = "${var.environment}-${each.key}" })
}

resource "terraform_data" "container" {
  for_each = var.containers
  input    = merge(each.value, { name = "${var.environment}-${each.key}" })
}

# Changed by each release.
resource "terraform_data" "release" {
  input = var.release
}

# Replaced by each release. An apply stands here while its gate is shut.
resource "terraform_data" "image" {
  triggers_replace = var.release

  provisioner "local-exec" {
    command = "[ -z \"$LAB_GATE\" ] || { : >\"$LAB_GATE/reached\"; while [ -d \"$LAB_GATE\" ] && [ ! -e \"$LAB_GATE/open\" ]; do sleep 0.05; done; }"
  }
}

# Added and removed.
resource "terraform_data" "slot" {
  count = var.release % 3
  input = count.index
}

# A secret that every state holds.
resource "terraform_data" "grafana" {
  input = var.grafana_admin_password
}

output "release" {
  value = var.release
}

output "guests" {
  value = concat(
    [for vm in terraform_data.vm : vm.output.name],
    [for container in terraform_data.container : container.output.name],
  )
}
